"The command line as a user types it; in this process but for one run, since a new one spends seconds on importing PyTorch."
import contextlib
import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("CUFIT_DATA", ROOT.parent/"shared"/"data"))
WEIGHTS = Path(os.environ.get("CUFIT_WEIGHTS", ROOT.parent/"shared"/"weights"))/"deit_tiny_patch16_224_fp16.safetensors"
CUFIT = Path(sys.executable).parent/"cufit"


def cufit(*args, code=0, cwd="."):
    "The command in this process: what it wrote, once its exit code is the expected one."
    from cufit.cli import main
    out, err = io.StringIO(), io.StringIO()
    with patch.object(sys, "argv", ["cufit", *map(str, args)]), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), contextlib.chdir(cwd):
        with pytest.raises(SystemExit) as e: main()
    done = SimpleNamespace(returncode=e.value.code or 0, stdout=out.getvalue(), stderr=err.getvalue())
    assert done.returncode == code, done.stdout+done.stderr
    return done


def process(*args, **kwargs):
    "The same in a process of its own."
    done = subprocess.run([CUFIT, *map(str, args)], capture_output=True, text=True, timeout=600, **kwargs)
    assert done.returncode == 0, done.stdout+done.stderr
    return done


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    "A small run on the embedded cells, by a process of its own."
    out = tmp_path_factory.mktemp("runs")/"first"
    done = process("train", "--data", "cells", "--limit", 64, "--epochs", 2, "--curves", 32, "--keep-last", 2, "--noise", 0.4, "--out", out)
    return out, done


def test_every_command_shows_an_example():
    for command in ("train", "evaluate", "demo", "data"):
        assert f"Example: cufit {command}" in process(command, "--help").stdout


def test_train_says_data_and_cost_first_and_the_scores_last(run):
    out, done = run
    lines = done.stdout.splitlines()
    assert lines.pop(0).startswith("data: cells, drawn: train 64")
    assert lines[0].startswith("cufit: 64 images x 2 epochs") and "GFLOP" in lines[0] and "minutes" in lines[0]
    assert "40.0 % nominal" in lines[1] and "realised" in lines[1]
    assert lines[2].startswith("cufit: took") and "expected" in lines[2]
    assert "label precision" in lines[3] and str(out/"report.html") in lines[-1]


def test_a_dry_run_needs_no_folder_and_writes_nothing(tmp_path):
    done = cufit("train", "--data", "cells", "--limit", 64, "--epochs", 2, "--noise", 0.4, "--dry-run", cwd=tmp_path)
    data, cost, noise = done.stdout.splitlines()
    assert cost.startswith("cufit: 64 images x 2 epochs") and "realised" in noise and not list(tmp_path.iterdir())


def test_a_run_without_a_folder_is_refused_before_anything_is_read(tmp_path):
    assert "--out runs/mine" in cufit("train", "--data", tmp_path/"nowhere", code=1).stderr


def test_metrics_hold_what_is_promised(run):
    m = json.loads((run[0]/"metrics.json").read_text())
    wanted = {"accuracy", "balanced_accuracy", "per_class_recall", "label_precision", "label_recall", "n_train", "seconds", "seed"}
    assert wanted <= m.keys() and m["n_train"] == 64 and len(m["per_class_recall"]) == 8 and "accuracy_last_epochs" in m
    assert list(m["modules"]) == ["lpm", "iam", "lam"]
    assert all(wanted - {"n_train", "seconds", "seed"} <= v.keys() for v in m["modules"].values())
    assert m["modules"]["lam"]["accuracy"] == m["accuracy"] and m["modules"]["lpm"]["label_recall"] == 1


def test_run_folder_can_be_read_without_the_package(run):
    out = run[0]
    names = {p.name for p in out.iterdir()}
    assert {"config.json", "history.csv", "metrics.json", "selection.npz", "selection.csv", "model.safetensors", "resume.safetensors", "figures", "report.html", "noise.npz", "noise.json"} <= names
    s = np.load(out/"selection.npz", allow_pickle=False)
    assert s["trained"].shape == (2, 3, 64) and s["trained"].dtype == bool and list(s["modules"]) == ["lpm", "iam", "lam"]
    assert s["trained"][:, 0].all() and not s["trained"][:, 1].all()
    table = pd.read_csv(out/"selection.csv")
    assert len(table) == 64 and table.id.is_unique
    np.testing.assert_allclose(table.iam_trained_share, s["trained"][:, 1].mean(0), atol=1e-3)
    np.testing.assert_allclose(table.trust, s["trained"][:, 1:].mean((0, 1)), atol=1e-3)
    page = (out/"report.html").read_text()
    assert page.count("<img") == 5 and "http" not in page.split("</style>")[1].replace("https://doi", "")


def test_evaluate_prints_json_and_keeps_it(run):
    found = json.loads(cufit("evaluate", run[0], "--data", "cells", "--split", "test").stdout)
    assert found == json.loads((run[0]/"evaluate_test.json").read_text())
    assert abs(found["accuracy"]-json.loads((run[0]/"metrics.json").read_text())["accuracy"]) < 1e-9


def test_a_finished_run_is_not_overwritten(run):
    before = (run[0]/"metrics.json").read_bytes()
    done = cufit("train", "--data", "cells", "--limit", 64, "--out", run[0], code=1)
    assert "already holds a finished run" in done.stderr and "Traceback" not in done.stderr
    assert (run[0]/"metrics.json").read_bytes() == before


@pytest.mark.parametrize("args, words", [
    (["--method", "cufti"], ["cufti", "'cufit'"]), (["--noise-kind", "symetric"], ["symmetric"]), (["--noise", "1.4"], ["1.4"]),
    (["--data", "no/such/folder"], ["no/such/folder"]), (["--backbone", "vit_smal"], ["no model"]), (["--epochs", "0"], ["at least 1"]),
    (["--method", "rein", "--views", "2"], ["linear"]), (["--precision", "float8"], ["bfloat16"])])
def test_wrong_values_are_answered_with_a_sentence(tmp_path, args, words):
    said = cufit("train", *args, "--out", tmp_path/"run", code=1).stderr
    said = said[said.rindex("cufit: "):]   # what came before are progress bars
    assert "Traceback" not in said
    for word in words: assert word in said


def test_known_data_has_licence_and_source():
    text = cufit("data", "bloodmnist").stdout
    assert "CC BY 4.0" in text and "http" in text
    assert "Did you mean 'bloodmnist'" in cufit("data", "bloodmnst", code=1).stderr
    assert "with an account" in cufit("data", "aptos2019", "--get", code=1).stderr
    assert "MedMNIST name" in cufit("data", "--get", code=1).stderr


def small_copy(source, target, n):
    "A zip of the same layout with a few images of each class and split."
    with zipfile.ZipFile(source) as z:
        table = pd.read_csv(io.BytesIO(z.read("labels.csv")))
        label = "class" if "class" in table else "dx"
        part = pd.concat([g.head(n.get(s, 0)) for (s, _), g in table.groupby(["split", label])])
        with zipfile.ZipFile(target, "w") as out:
            out.writestr("labels.csv", part.to_csv(index=False))
            for f in part.file if "file" in part else "images/"+part.image_id+".jpg": out.writestr(f, z.read(f))
    return target


@pytest.mark.parametrize("name, columns", [("pbc_blood_128", ["--label", "class"]), ("ham10000_200x150", ["--image", "image_id", "--label", "dx", "--group", "lesion_id"])])
def test_real_images_end_to_end(tmp_path, name, columns):
    source = DATA/f"{name}.zip"
    if not source.is_file(): pytest.skip(f"no {source}; set CUFIT_DATA to its folder")
    if not WEIGHTS.is_file(): pytest.skip(f"no {WEIGHTS}; set CUFIT_WEIGHTS to its folder")
    data = small_copy(source, tmp_path/f"{name}.zip", dict(train=8, val=2, test=3))
    out = tmp_path/"run"
    cufit("train", "--data", data, *columns, "--backbone", "deit_tiny_patch16_224", "--weights", WEIGHTS, "--img-size", 224, "--method", "cufit", "--noise", 0.4, "--limit", 48, "--epochs", 1, "--out", out)
    m = json.loads((out/"metrics.json").read_text())
    assert m["n_train"] == 48 and 0.2 < m["realised_noise"] < 0.6
    found = json.loads(cufit("evaluate", out, "--data", data, "--split", "test").stdout)
    assert found["n"] == m["n_test"] and abs(found["accuracy"]-m["accuracy"]) < 1e-9


def test_the_demo_says_which_page_to_open_first(tmp_path, monkeypatch):
    "And opens it where there is a desktop."
    import webbrowser
    from cufit.drawn.cells import CELLS
    for split in CELLS: monkeypatch.setitem(CELLS, split, 80)   # the lines that it ends with are the same
    opened = []
    monkeypatch.setattr(webbrowser, "get", lambda: SimpleNamespace(open=lambda address: opened.append(address) or True))
    said = cufit("demo", "--epochs", 1, "--out", tmp_path/"demo", "--open").stdout.splitlines()
    assert said[-1].startswith(f"Open {tmp_path/'demo'}/report.html first") and opened == [(tmp_path/"demo"/"report.html").resolve().as_uri()]
    page = (tmp_path/"demo"/"report.html").read_text()
    assert all(f'href="{m}/report.html"' in page for m in ("linear", "rein", "cufit"))
    def no_desktop(): raise webbrowser.Error("could not locate runnable browser")
    monkeypatch.setattr(webbrowser, "get", no_desktop)
    from cufit.cli import show
    assert not show(tmp_path/"demo"/"report.html")


@pytest.mark.slow
def test_a_wheel_carries_the_weights_and_runs_the_demo(tmp_path):
    uv = Path(sys.executable).parent/"uv"
    subprocess.run([uv, "build", "--quiet", "--wheel", "--out-dir", tmp_path, ROOT], check=True, timeout=300)
    wheel, = tmp_path.glob("*.whl")
    assert any(n.endswith("assets/pocket_vit.safetensors") for n in zipfile.ZipFile(wheel).namelist())
    subprocess.run([uv, "pip", "install", "--quiet", "--no-deps", "--target", tmp_path/"site", wheel], check=True, timeout=300)
    program = "import cufit, pathlib; assert pathlib.Path(cufit.__file__).is_relative_to(pathlib.Path('site').resolve()); from cufit.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", program, "demo", "--epochs", "1", "--out", "demo"], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(tmp_path/"site")}, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    rows = [line.split()[0] for line in done.stdout.splitlines() if line.startswith(("linear ", "rein ", "cufit "))]
    assert rows == ["linear", "rein", "cufit"] and (tmp_path/"demo"/"report.html").is_file()
    assert (tmp_path/"demo"/"cufit"/"report.html").is_file()


def test_own_labels_as_they_are(tmp_path, run):
    "A user's folder, no noise added: what would need the truth is not claimed; another run's model can be scored on it."
    from PIL import Image
    from cufit.drawn.cells import draw_cells, CELL_CLASSES
    images, labels = draw_cells(80, 48, seed=5)
    for i, (image, k) in enumerate(zip(images, labels)):
        folder = tmp_path/"mine"/CELL_CLASSES[k]; folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.transpose(1, 2, 0)).save(folder/f"{i}.png")
    out = tmp_path/"run"
    cufit("train", "--data", tmp_path/"mine", "--method", "cufit", "--noise", 0, "--epochs", 1, "--out", out)
    m = json.loads((out/"metrics.json").read_text())
    assert m["label_precision"] is None and m["label_recall"] is None and m["accuracy"] >= 0
    assert {p.name for p in (out/"figures").iterdir()} == {"confusion.png", "samples.png"}
    assert len(pd.read_csv(out/"selection.csv")) == m["n_train"]
    found = json.loads(cufit("evaluate", run[0], "--data", tmp_path/"mine").stdout)
    assert found["data"].endswith("mine") and (run[0]/"evaluate_all.json").is_file()
