"""What a change has to leave in order: exported modules in sync with the notebooks, notebooks clean, README made.

Repairs what it finds, names it, and fails, so that running it again (and committing) is the remedy."""
import json
import re
import subprocess
import sys
from pathlib import Path

from house import ROOT, faults, notebooks

BIN = Path(sys.executable).parent
LIMIT = 300_000   # bytes of a notebook, outputs included
WIDE = 100        # columns of a code cell: what a page, and JupyterLab beside its sidebar, can show


def package(): return sorted(p for p in (ROOT/"cufit").rglob("*.py") if "__pycache__" not in p.parts)
def readme(): return [ROOT/"README.md", *sorted((ROOT/"docs"/"pictures").glob("*"))]
def tables(): return [ROOT/"benchmarks"/"README.md"]


def changed_by(files, *command):
    "Names of the files, of those that `files()` lists before and after, that `command` changes."
    def snapshot(): return {p: p.read_bytes() for p in files()}
    before = snapshot()
    subprocess.run(command, cwd=ROOT, check=True)
    after = snapshot()
    return [str(p.relative_to(ROOT)) for p in sorted(before.keys() | after.keys()) if before.get(p) != after.get(p)]


def faults_of(notebook):
    "What is wrong with one notebook: size, an error among the outputs, code that is cut off on a page, a lesson that was never run."
    every = json.loads(notebook.read_text())["cells"]
    cells = [c for c in every if c["cell_type"] == "code"]
    if notebook.stat().st_size > LIMIT: yield f"is {notebook.stat().st_size:,} bytes; at most {LIMIT:,} are allowed"
    outputs = [o for c in cells for o in c["outputs"]]
    if any(o["output_type"] == "error" for o in outputs): yield "holds an error among its outputs"
    if any(o.get("name") == "stderr" for o in outputs): yield "holds a stderr box"
    if not outputs: yield "was never executed: make results"
    for c in every:
        wide = [line for line in code_of(c).splitlines() if len(line) > WIDE and not line.startswith("#|")]
        if wide: yield f"has a line of {len(wide[0])} columns in cell {c['id']}; wrap it at {WIDE}: {wide[0].strip()[:60]}..."


def code_of(cell):
    "The code of a cell, or what its text shows as code."
    text = "".join(cell["source"])
    return text if cell["cell_type"] == "code" else "".join(re.findall(r"```(?:python|sh|toml|bibtex)\n(.*?)```", text, re.S))


def main():
    found = [f"{f} was not in sync with its notebook; exported it" for f in changed_by(package, BIN/"nbdev_export")]
    found += [f"{f} was not clean; cleaned it" for f in changed_by(notebooks, BIN/"nbdev_clean")]
    found += [f"{f} did not have the address of settings.ini; wrote it" for f in changed_by(notebooks, sys.executable, "tools/address.py")]
    found += [f"{f} had a figure that its recorded table does not have; wrote it" for f in changed_by(lambda: [*notebooks(), *tables()], sys.executable, "tools/prose.py")]
    found += [f"{f} was not what nbs/index.ipynb says; made it again" for f in changed_by(readme, sys.executable, "tools/readme.py")]
    found += [f"{f} did not have the tables of benchmarks/results; wrote them" for f in changed_by(tables, sys.executable, "benchmarks/tables.py")]
    found += [f"{n.relative_to(ROOT)} {f}" for n in notebooks() for f in faults_of(n)]
    found += faults()
    print("\n".join(found) or "Exported code is in sync, notebooks are clean, README is made, every room has its place.")
    sys.exit(bool(found))


if __name__ == "__main__": main()
