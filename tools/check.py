"""What a change has to leave in order: exported modules in sync with the notebooks, notebooks clean, README made.

Repairs what it finds, names it, and fails, so that running it again (and committing) is the remedy."""
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
LIMIT = 300_000   # bytes of a notebook, outputs included


def snapshot(patterns): return {p: p.read_bytes() for pattern in patterns.split() for p in sorted(ROOT.glob(pattern))}


def changed_by(patterns, *command):
    "Names of the files, of those that match the patterns, that `command` changes."
    before = snapshot(patterns)
    subprocess.run(command, cwd=ROOT, check=True)
    after = snapshot(patterns)
    return [str(p.relative_to(ROOT)) for p in sorted(before.keys() | after.keys()) if before.get(p) != after.get(p)]


def faults_of(notebook):
    "What is wrong with one notebook: size, an error among the outputs, a lesson that was never run."
    cells = [c for c in json.loads(notebook.read_text())["cells"] if c["cell_type"] == "code"]
    if notebook.stat().st_size > LIMIT: yield f"is {notebook.stat().st_size:,} bytes; at most {LIMIT:,} are allowed"
    outputs = [o for c in cells for o in c["outputs"]]
    if any(o["output_type"] == "error" for o in outputs): yield "holds an error among its outputs"
    if any(o.get("name") == "stderr" for o in outputs): yield "holds a stderr box"
    if not outputs: yield "was never executed: make results"


def main():
    found = [f"{f} was not in sync with its notebook; exported it" for f in changed_by("cufit/*.py", BIN/"nbdev_export")]
    found += [f"{f} was not clean; cleaned it" for f in changed_by("nbs/*.ipynb", BIN/"nbdev_clean")]
    found += [f"{f} did not have the address of settings.ini; wrote it" for f in changed_by("nbs/*.ipynb", sys.executable, "tools/address.py")]
    found += [f"{f} was not what nbs/index.ipynb says; made it again" for f in changed_by("README.md docs/pictures/*", sys.executable, "tools/readme.py")]
    found += [f"{f} did not have the tables of benchmarks/results; wrote them" for f in changed_by("benchmarks/README.md", sys.executable, "benchmarks/tables.py")]
    found += [f"{n.name} {f}" for n in sorted(ROOT.glob("nbs/*.ipynb")) for f in faults_of(n)]
    print("\n".join(found) or "Exported code is in sync, notebooks are clean, README is made.")
    sys.exit(bool(found))


if __name__ == "__main__": main()
