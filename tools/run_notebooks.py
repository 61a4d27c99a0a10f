"""Run notebooks and keep their outputs, so that two runs of the same code differ in nothing but the time they took.

    python tools/run_notebooks.py nbs/lessons/2_noise.ipynb nbs/lessons/5_curriculum.ipynb
    python tools/run_notebooks.py                            all of them

Widget ids are numbered in order of appearance, progress bars are off, the widgets' state goes (it holds every
picture twice) and what the kernel says on stderr is an error."""
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from house import notebooks

os.environ |= {"TQDM_DISABLE": "1"}
ID = re.compile(r'"model_id": ?"([0-9a-f]{32})"')


def renumber(text):
    "Replace the ids of widgets by numbers in order of appearance; other numbers of 32 digits, such as MD5 sums, stay."
    for n, found in enumerate(dict.fromkeys(ID.findall(text))): text = text.replace(found, f"{n:032x}")
    return text


def run(path):
    nb = nbformat.read(path, as_version=4)
    NotebookClient(nb, timeout=7200, kernel_name="python3", resources={"metadata": {"path": str(path.parent)}}).execute()
    nb.metadata.pop("widgets", None)
    noise = [o.text for c in nb.cells if c.cell_type == "code" for o in c.outputs if o.get("name") == "stderr"]
    if noise: raise SystemExit(f"{path} wrote to stderr:\n{noise[0][:2000]}")
    for c in nb.cells: c.metadata.pop("execution", None)
    path.write_text(renumber(nbformat.writes(nb)) + "\n")


def main():
    for path in map(Path, sys.argv[1:] or notebooks()):
        started = time.time(); run(path)
        subprocess.run([Path(sys.executable).parent/"nbdev_clean", "--fname", path], check=True)
        print(f"{path}: {time.time()-started:.0f} s, {path.stat().st_size/1000:.0f} kB", flush=True)


if __name__ == "__main__": main()
