"""Write the tables of README.md from results/*.csv: each stands behind a comment that names the script that prints it.

    python benchmarks/tables.py"""
import contextlib
import io
import re
import runpy
import sys
from pathlib import Path

HERE = Path(__file__).parent
MARK = re.compile(r"(<!-- table: (.+?) -->\n)(.*?)(<!-- end -->)", re.S)


def printed(command):
    "What `python benchmarks/<command> --table` prints."
    script, *options = command.split()
    out, kept = io.StringIO(), sys.argv
    sys.argv = [script, *options, "--table"]
    try:
        with contextlib.redirect_stdout(out): runpy.run_path(str(HERE/script), run_name="__main__")
    finally: sys.argv = kept
    return out.getvalue().strip()+"\n"


def main():
    sys.path.insert(0, str(HERE))
    path = HERE/"README.md"
    path.write_text(MARK.sub(lambda m: m[1]+printed(m[2])+m[4], path.read_text()))


if __name__ == "__main__": main()
