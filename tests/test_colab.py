"""Colab: nothing it ships has to move for this package, and what has widgets runs on the versions that it ships.

`make test-rest` resolves beside the versions of `tests/colab.txt`, and runs the notebooks with widgets on all of them but
torch and torchvision, which weigh gigabytes, on this machine's Python. `make colab` runs all lessons on Python 3.13
with every one of them: it names that Python in CUFIT_COLAB."""
import json
import os
import shutil
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import nbformat
import pytest
from lessons import ROOT, TRIED, WITH_WIDGETS
from nbclient import NotebookClient

LIST = ROOT/"tests"/"colab.txt"
VERSIONS = dict(line.split("==") for line in LIST.read_text().splitlines() if not line.startswith("#"))
ELSEWHERE = {"torch", "torchvision", "tifffile"}   # the first two are too large, the third wants Python 3.12
HELD = ["ipywidgets", "widgetsnbextension", "ipykernel", "ipython", "traitlets", "fastcore", "numpy", "pandas", "matplotlib", "scikit-learn", "timm"]
pytestmark = pytest.mark.slow   # they fetch half a gigabyte
WHOLE = "CUFIT_COLAB" in os.environ   # torch and torchvision, too


def canonical(name): return name.lower().replace("_", "-")


def uv(*arguments, given=None):
    "Run uv; skip where the package index cannot be reached."
    done = subprocess.run([Path(sys.executable).parent/"uv", *map(str, arguments)], input=given, cwd=ROOT, capture_output=True, text=True)
    if done.returncode and ("Failed to fetch" in done.stderr or "network was disabled" in done.stderr):
        pytest.skip(f"the package index cannot be reached, so nothing was held against Colab's versions:\n{done.stderr[-600:]}")
    return done


def beside_colab(requirements, given=None):
    "What an installation there ends with, and uv's explanation if there is no way."
    done = uv("pip", "compile", requirements, "--python-version", "3.13", "--python-platform", "linux", "--no-python-downloads",
              "--constraint", LIST, "--no-annotate", "--no-header", given=given)
    return dict(line.split("==") for line in done.stdout.splitlines() if "==" in line), done.stderr


def test_nothing_that_colab_ships_has_to_move():
    installed, why = beside_colab("setup.py")
    assert installed, why
    ships = {canonical(n): v for n, v in VERSIONS.items()}
    assert {n: v for n, v in installed.items() if n in ships and v != ships[n]} == {}
    settings = ConfigParser(delimiters=["="]); settings.read(ROOT/"settings.ini")
    ours = {canonical(r.partition(">")[0]) for r in settings["DEFAULT"]["requirements"].split()}
    assert ours - ships.keys() == {"medmnist"}, "Colab lacks one of our requirements; for any other, tests/colab.txt has to say its version"
    assert ours <= installed.keys()


def test_a_requirement_that_moves_something_is_refused():
    installed, why = beside_colab("-", "timm\nfastcore<2\n")
    assert not installed and "fastcore==2.2.19" in why


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    "The name of a kernel that has Colab's versions."
    folder = tmp_path_factory.mktemp("colab")
    layer, wanted = folder/"layer", folder/"wanted.txt"
    if not WHOLE:
        wanted.write_text("".join(f"{n}=={v}\n" for n, v in VERSIONS.items() if n not in ELSEWHERE))
        done = uv("pip", "install", "--quiet", "--python", sys.executable, "--no-deps", "--target", layer, "-r", wanted)
        assert done.returncode == 0, done.stderr
    spec = folder/"kernels"/"colab"/"kernel.json"; spec.parent.mkdir(parents=True)
    argv = [os.environ.get("CUFIT_COLAB", sys.executable), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec.write_text(json.dumps(dict(argv=argv, display_name="Colab", language="python", env=dict(PYTHONPATH=str(layer)))))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_PATH", str(folder))
        yield "colab"
    shutil.rmtree(layer, ignore_errors=True)   # half a gigabyte


def outputs(nb): return [o for c in nb.cells if c.cell_type == "code" for o in c.outputs]


@pytest.mark.parametrize("name", TRIED if WHOLE else WITH_WIDGETS)
def test_a_notebook_runs_on_colabs_versions(kernel, name, monkeypatch):
    monkeypatch.setenv("CUFIT_SCALE", os.environ.get("CUFIT_SCALE", "quick"))
    held = HELD + ["torch", "torchvision"]*WHOLE
    nb = nbformat.read(ROOT/"nbs"/f"{name}.ipynb", as_version=4)
    nb.cells.append(nbformat.v4.new_code_cell(f"import importlib.metadata\nimport ipywidgets\n\nprint(ipywidgets.__version__, *map(importlib.metadata.version, {held}))"))
    NotebookClient(nb, timeout=1800, kernel_name=kernel, resources={"metadata": {"path": str((ROOT/"nbs"/name).parent)}}).execute()
    assert nb.cells[-1].outputs[0].text.split() == ["7.7.1", *(VERSIONS[n] for n in held)]
    assert [o.text for o in outputs(nb) if o.get("name") == "stderr"] == []
    shown = any("application/vnd.jupyter.widget-view+json" in o.get("data", {}) for o in outputs(nb))
    assert shown == (name in WITH_WIDGETS)
