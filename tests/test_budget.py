"""Time is a budget: what the notebooks took in the last whole run, in seconds of processor time at the standard pace."""
import json
import subprocess
import sys

import pytest
from house import ROOT, notebooks
from test_notebooks import EACH, LONGER, TIMES, TOGETHER, name

ALL = {name(p) for p in notebooks()}
BUSY = 1.5   # times the budget, above which it is not what the pace misses: it changes while a notebook runs


@pytest.fixture(scope="module")
def times():
    if not TIMES.is_file(): pytest.skip("the notebooks were not run as tests yet: make test does")
    return json.loads(TIMES.read_text())


def largest(times): return ", ".join(f"{n} {s:.0f} s" for n, s in sorted(times.items(), key=lambda kv: -kv[1])[:5])


def test_notebooks_stay_in_their_budget(times):
    over = {n: s for n, s in times.items() if s > BUSY*LONGER.get(n, EACH)}
    assert not over, f"over budget: {largest(over)}. A notebook has {EACH} s at scale quick, or what LONGER in tools/test_notebooks.py says"


def test_notebooks_together_stay_in_theirs(times):
    assert sum(times.values()) < BUSY*TOGETHER, f"{sum(times.values()):.0f} s of {TOGETHER}. The largest: {largest(times)}"


def test_every_notebook_was_timed_and_no_budget_is_of_a_lost_one(times):
    assert times.keys() == ALL and LONGER.keys() <= ALL
    assert sum(LONGER.values()) < TOGETHER


def test_the_public_face_loads_nothing_before_it_is_asked():
    program = "import sys, cufit; before = set(sys.modules); dir(cufit); print('torch' in sys.modules, 'numpy' in sys.modules); from cufit import CufitError; print('torch' in sys.modules, 'timm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split() == ["False", "False", "True", "False"]
