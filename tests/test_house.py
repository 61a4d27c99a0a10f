"The house: every room has its place, imports look back only, and every script sees every notebook."
import ast
import subprocess
import sys
from pathlib import Path

import cufit
import pytest
from house import HOUSE, ROOT, exports, faults, module_files, modules, notebooks, rooms
from lessons import TEXTS
from nbdev.config import get_config  # noqa: F401  before the next line, or nbdev does not find itself
from nbdev.doclinks import nbglob


def imported(path, name):
    "Rooms that a file of the package imports, inside functions as well."
    here = name.split(".")
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            base = [*here[:len(here)-node.level], *(node.module or "").split(".")] if node.level else (node.module or "").split(".")
            base = [b for b in (base[1:] if base and base[0] == "cufit" and not node.level else base if node.level else ["?"]) if b]
            for alias in node.names:
                if base == [] and (node.module == "cufit" or node.level) and alias.name in cufit.ROOMS: yield cufit.ROOMS[alias.name]
                yield from (n for n in (".".join([*base, alias.name]), ".".join(base)) if n in rooms())
        if isinstance(node, ast.Import):
            yield from (n for a in node.names if a.name.startswith("cufit.") and (n := a.name[6:]) in rooms())


def test_nothing_is_wrong_with_the_house(): assert not list(faults())


def test_a_wing_has_about_nine_rooms_at_most():
    assert not [w.name for w in HOUSE if len(w.rooms.split()) > 9]


@pytest.mark.parametrize("name", rooms())
def test_a_room_imports_only_rooms_before_it(name):
    order = {room: i for i, room in enumerate(rooms())}
    later = [n for n in imported(module_files()[name], name) if order[n] >= order[name]]
    assert not later, f"{name} imports {later}, which do not stand before it in tools/house.py"


def test_imports_of_all_kinds_are_seen(tmp_path):
    "Absolute, relative, of a whole room, and inside a function."
    (tmp_path/"a.py").write_text("import cufit.cli\nfrom cufit import load_method\nfrom .. import evaluate_run\nfrom cufit.data.noise import corrupt\nfrom .. import plot\nfrom .store import open_store\ndef f():\n    from ..drawn.cells import cells\n    from cufit.run import report\n")
    assert set(imported(tmp_path/"a.py", "sources.readers")) == {"cli", "train.contract", "run.experiment", "data.noise", "plot", "sources.store", "drawn.cells", "run.report"}
    assert len([n for name in rooms() for n in imported(module_files()[name], name)]) > 100


def test_data_does_not_know_what_is_drawn():
    program = "import sys, " + ", ".join(f"cufit.{n}" for n in rooms() if n.startswith("data.")) + "\nprint([m for m in sys.modules if m.startswith('cufit.drawn')])"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_every_script_sees_the_notebooks_that_git_has(monkeypatch):
    "Ours by `house.notebooks`, nbdev's by its own walk, the site by the pages that it writes (in the browser's tests)."
    tracked = subprocess.run(["git", "ls-files", "*.ipynb"], cwd=ROOT, capture_output=True, text=True).stdout.split()
    if not tracked: pytest.skip("this is no git checkout")
    assert sorted(tracked) == sorted(p.relative_to(ROOT).as_posix() for p in notebooks())
    assert list(map(exports, modules().values())) == rooms()
    monkeypatch.chdir(ROOT)
    assert sorted(tracked) == sorted(Path(p).resolve().relative_to(ROOT).as_posix() for p in nbglob(as_path=True)), "nbdev_export and nbdev_clean would pass over some"
    assert sorted(TEXTS) == sorted(p.removeprefix("nbs/").removesuffix(".ipynb") for p in tracked)
