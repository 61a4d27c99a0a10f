"What several tests share."
import ast
import contextlib
import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT/"tools"))   # the tests ask the house where the notebooks are, as the tools do


@pytest.fixture(scope="session")
def from_lesson():
    """Functions as a lesson shows them: `from_lesson("lessons/5_curriculum", namespace, *names)` runs the cells that define them.

    The naive versions that lessons teach with are not exported, but tests hold the exported ones against them."""
    def load(notebook, namespace, *names):
        cells = json.loads((ROOT/"nbs"/f"{notebook}.ipynb").read_text())["cells"]
        sources = ["".join(c["source"]) for c in cells if c["cell_type"] == "code"]
        for source in sources:
            try: tree = ast.parse(source)
            except SyntaxError: continue   # a cell with a magic defines nothing we want
            if {n.name for n in tree.body if isinstance(n, (ast.FunctionDef, ast.ClassDef))} & set(names): exec(source, namespace)
        missing = [n for n in names if n not in namespace]
        assert not missing, f"{notebook}.ipynb does not define {missing}"
        return [namespace[n] for n in names]
    return load


@pytest.fixture
def dies(monkeypatch):
    "`with dies(epoch):` a training inside is stopped by Ctrl-C at the beginning of that epoch, counted from 1."
    @contextlib.contextmanager
    def dies(epoch):
        import cufit.train.loop as loop
        real, calls = loop.train_epoch, []
        def train_epoch(*args, **kwargs):
            calls.append(1)
            if len(calls) == epoch: raise KeyboardInterrupt
            return real(*args, **kwargs)
        with monkeypatch.context() as patched:
            patched.setattr(loop, "train_epoch", train_epoch)
            yield
    return dies


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: left to `make test-rest`")
