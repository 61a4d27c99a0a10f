"The check of a change finds what is planted in a copy of the project: an edited module, an unclean notebook, an old address, a module of nobody, code too wide."
import json
import shutil
import subprocess
import sys

import prose
import pytest
from house import HOUSE, ROOT, faults, modules, notebooks

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
    plain = next(c for c in notebook["cells"] if c["cell_type"] == "code" and c["id"] != "install" and not "".join(c["source"]).startswith("#|"))
    plain["source"] = plain["source"] + [f"\n# {'x'*120}"]   # what is exported stays as it is
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True)+"\n")   # as nbdev writes it, so that nothing but the damage differs
    return module.relative_to(root).as_posix(), path.relative_to(root).as_posix()


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    "What the check says of the damaged copy, and what was damaged."
    root = tmp_path_factory.mktemp("copy")/"project"
    shutil.copytree(ROOT, root, ignore=shutil.ignore_patterns(".git", ".venv", ".cache", ".hypothesis", ".pytest_cache", "_docs", "_site_src", "runs", "__pycache__", "screenshots", "*.egg-info"))
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
    lines, planted, again = said
    assert any("cufit/methods/stray.py has no notebook" in line for line in lines)
    assert again.returncode == 1 and not again.stderr
    wide = [f"{notebook} has a line of" for _, notebook in planted.values()]
    assert sorted(line.split(" columns")[0].rsplit(" ", 1)[0] for line in again.stdout.splitlines() if "columns" in line) == sorted(wide)
    assert [line for line in again.stdout.splitlines() if "columns" not in line] == [line for line in lines if "stray.py" in line]


def test_notebooks_come_in_the_readers_order():
    found = [p.relative_to(ROOT/"nbs").as_posix() for p in notebooks()]
    lessons = [f for f in found if f.startswith("lessons/")]
    assert found[0] == "index.ipynb" and found[1:1+len(lessons)] == lessons and [int(f.split("/")[1].split("_")[0]) for f in lessons] == list(range(len(lessons)))


def test_what_else_is_wrong_with_a_house_is_named(tmp_path):
    "Two notebooks for one room, one in no part of the house, one under another name, a room too long, rooms that nothing makes."
    def notebook(place, room):
        path = tmp_path/"nbs"/place; path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(dict(cells=[dict(cell_type="code", source=[f"#| default_exp {room}"])])))
    for place, room in (("api/core.ipynb", "core"), ("lessons/1_core.ipynb", "core"), ("drafts/plot.ipynb", "plot"), ("api/scores.ipynb", "metrics")): notebook(place, room)
    (tmp_path/"cufit").mkdir()
    for room, lines in (("core", 500), ("plot", 3), ("metrics", 3)): (tmp_path/"cufit"/f"{room}.py").write_text("x = 1\n"*lines)
    said = "\n".join(faults(tmp_path))
    for words in ("core is exported by nbs/lessons/1_core.ipynb and nbs/api/core.ipynb", "nbs/drafts/plot.ipynb stands in none of", "nbs/api/scores.ipynb exports metrics", "cufit/core.py has 500 lines", "names the room figure"): assert words in said, (words, said)


def test_a_figure_that_drifted_from_its_table_is_written_anew():
    what = "mean('pocket', 'balanced_accuracy', method='linear', noise=.4)"
    value = prose.mean("pocket", "balanced_accuracy", method="linear", noise=.4)
    assert prose.renewed(f"about 1 % of the cells, 12.3 %<!--= {what} --> here") == f"about 1 % of the cells, {value:.1f} %<!--= {what} --> here"
    both = "+0.0 points<!--= gap('pocket', 'balanced_accuracy', 'cufit', 'cufit', noise=.4) -->"
    assert prose.renewed(both) == both
    with pytest.raises(SystemExit, match="no balanced_accuracy"): prose.renewed("1.0 %<!--= mean('pocket', 'balanced_accuracy', method='nobody') -->")


def test_decimals_beside_a_recorded_figure_say_where_they_are_from():
    assert prose.bare("57.3 %<!--= mean('pocket', 'balanced_accuracy', method='linear') --> and 12.3 %") == ["12.3"] and not prose.bare("12.3 % and 0.5 points")
    assert not [(path.name, found) for path, text in prose.texts() if (found := prose.bare(text))]
