"The scripts in tools/: one address, written everywhere by one script."
import json
import re
import runpy

import pytest
from house import ROOT, notebooks
from lessons import LESSONS, solutions

NOTEBOOKS = notebooks()


@pytest.fixture(scope="module")
def tool(): return runpy.run_path(ROOT/"tools"/"address.py")


def cells(path): return json.loads(path.read_text())["cells"]
def inside(path): return path.relative_to(ROOT/"nbs").as_posix()
def text(found): return "\n".join("".join(c["source"]) for c in found)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_moved_project_leaves_no_old_address(tool, path):
    cfg = dict(tool["settings"]())
    old, new = cfg["git_url"], "https://github.com/someone/else"
    assert old in text(cells(path)), "nothing to move: the test would pass on an empty notebook"
    moved = tool["rewritten"](cells(path), inside(path), cfg | dict(git_url=new))
    assert old.removeprefix("https://github.com") not in text(moved) and new in text(moved).replace("colab.research.google.com/github", "github.com")
    assert text(tool["rewritten"](moved, inside(path), cfg)) == text(cells(path))


def test_colab_is_offered_only_where_it_can_read(tool):
    cfg = dict(tool["settings"]()) | dict(git_url="https://git.example.org/a/cufit")
    moved = text(tool["rewritten"](cells(NOTEBOOKS[2]), inside(NOTEBOOKS[2]), cfg))
    assert "colab.research" not in moved and "git clone --quiet --depth 1 --branch main https://git.example.org/a/cufit" in moved


def test_the_address_stands_in_the_settings_alone(tool):
    old = tool["settings"]()["git_url"].removeprefix("https://")
    made = {"README.md", "cufit/_modidx.py"} | {str(p.relative_to(ROOT)) for p in NOTEBOOKS}
    sources = [p for pattern in ("*", "tools/*", "tests/**/*", "benchmarks/*", "cufit/**/*.py") for p in ROOT.glob(pattern) if p.is_file() and p.suffix in ("", ".py", ".md", ".txt", ".toml", ".in")]
    assert len(sources) > 20
    assert not [str(p) for p in sources if str(p.relative_to(ROOT)) not in made and old in p.read_text()]


@pytest.mark.parametrize("name", LESSONS)
def test_a_lesson_has_three_exercises_with_code_and_five_questions(name):
    texts = ["".join(c["source"]) for c in cells(ROOT/"nbs"/f"{name}.ipynb") if c["cell_type"] == "markdown"]
    found = [s for t in texts for s in solutions(t)]
    assert len(found) == 3*(name != "lessons/0_start_here") and all(found), "each of them is run in test_lab; the start has none"
    asked = [int(n) for t in texts for n in re.findall(r"<details><summary>(\d)\. ", t)]
    assert asked == [1, 2, 3, 4, 5]
    assert sum("**What you can now do" in t for t in texts) == 1
