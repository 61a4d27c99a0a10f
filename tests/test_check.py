"The check of a change finds what is planted in a copy of the project: an edited module, an unclean notebook, an old address, a module of nobody, code too wide."
import json
import shutil
import subprocess
import sys

import pytest
from house import HOUSE, ROOT, exports, modules, notebooks

ROOMS = {wing.rooms.split()[-1] if not wing.name else f"{wing.name}.{wing.rooms.split()[-1]}": None for wing in HOUSE if wing.rooms}   # the last of each wing


def plant(root, room):
    "Damage of every kind in one wing: the names of the files that the check has to name."
    path = modules(root)[room]
    module = root/"cufit"/f"{room.replace('.', '/')}.py"
    module.write_text(module.read_text().replace("__all__ = [", "EDITED = 1\n__all__ = [", 1))
    notebook = json.loads(path.read_text())
    install = next(c for c in notebook["cells"] if c["id"] == "install")
    install["source"] = [line.replace("git clone", "git clone --old") for line in install["source"]]
    notebook["cells"][-1]["metadata"]["trusted"] = True
    next(c for c in notebook["cells"] if "".join(c["source"]).startswith("#| export\n"))["source"].append(f"\n# {'x'*120}")
    path.write_text(json.dumps(notebook))
    return module.relative_to(root).as_posix(), path.relative_to(root).as_posix()


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    "What the check says of the damaged copy, and what was damaged."
    root = tmp_path_factory.mktemp("copy")/"project"
    shutil.copytree(ROOT, root, ignore=shutil.ignore_patterns(".git", ".venv", ".cache", "_docs", "_site_src", "runs", "__pycache__", "screenshots", "*.egg-info"))
    planted = {room: plant(root, room) for room in ROOMS}
    (root/"cufit"/"methods"/"stray.py").write_text("x = 1\n")
    done = subprocess.run([sys.executable, root/"tools"/"check.py"], capture_output=True, text=True)
    assert done.returncode == 1, done.stdout+done.stderr
    return done.stdout.splitlines(), planted, subprocess.run([sys.executable, root/"tools"/"check.py"], capture_output=True, text=True)


@pytest.mark.parametrize("room", ROOMS)
def test_damage_in_every_wing_is_named(said, room):
    lines, planted, _ = said
    module, notebook = planted[room]
    for start, what in ((module, "was not in sync"), (notebook, "was not clean"), (notebook, "did not have the address"), (notebook, "columns")):
        assert any(line.startswith(start) and what in line for line in lines), f"{start}: {what}"


def test_a_module_without_a_notebook_is_named_and_the_rest_is_mended(said):
    lines, _, again = said
    assert any("cufit/methods/stray.py has no notebook" in line for line in lines)
    left = [line for line in again.stdout.splitlines() if "columns" not in line and "stray.py" not in line]
    assert again.returncode == 1 and not left, left


def test_every_room_has_one_notebook_and_lessons_come_in_order():
    found = [p.relative_to(ROOT/"nbs").as_posix() for p in notebooks()]
    assert found[0] == "index.ipynb" and found[1].startswith("lessons/1_") and len({exports(p) for p in notebooks()}-{None}) == len(modules())
