"Folders that an earlier version wrote are read, scored and taken up again by this one."
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import cufit.frozen.backbone as backbone
import cufit.train.record as record
from cufit import Cufit, load, load_backbone, load_method
from cufit.core import CufitError, file_sha256, load_tensors, read_json, save_tensors, write_json
from cufit.sources.store import check_store, open_store
from cufit.run.results import recorded_runs
from cufit.run.experiment import evaluate_run, train_run
from cufit.run.settings import written_settings

FOLDER = Path(__file__).parent/"before"/"0.1.0"
SETTINGS = dict(data="cells", limit=64, epochs=2, lr=3e-3, batch_size=16, method="linear", noise=0.4, checkpoint_seconds=0, say=lambda line: None)


@pytest.fixture
def old(tmp_path):
    shutil.copytree(FOLDER, tmp_path/"old")
    return tmp_path/"old"


def test_a_model_says_what_it_said():
    test = load("cells", limit=64).test.subset(range(20))
    np.testing.assert_allclose(load_method(FOLDER/"linear").predict_proba(test), np.load(FOLDER/"linear"/"said.npy"), atol=1e-5)


def test_a_run_is_scored_as_it_was(old):
    then, now = read_json(old/"linear"/"metrics.json"), evaluate_run(old/"linear")
    assert now["n"] == then["n_test"] and abs(now["accuracy"]-then["accuracy"]) < 2e-3 and now["split"] == "test"
    assert recorded_runs(old/"linear").method.tolist() == ["linear"]


def test_a_run_is_taken_up_where_it_stopped(old):
    metrics, then = train_run(old/"cut", resume=True, **SETTINGS), read_json(old/"linear"/"metrics.json")
    assert metrics["epochs"] == 2 and abs(metrics["accuracy"]-then["accuracy"]) < 2e-3
    ours, theirs = load_tensors(old/"cut"/"last.safetensors")[0], load_tensors(old/"linear"/"last.safetensors")[0]
    for name, tensor in ours.items(): np.testing.assert_allclose(tensor, theirs[name], atol=1e-4)


def test_a_setting_that_did_not_exist_has_the_value_it_had_then(old, monkeypatch):
    "As if `cache`, `flip` and `gamma` had come later, the last with another default than what was done before."
    config = read_json(old/"cut"/"config.json")
    write_json(old/"cut"/"config.json", {k: v for k, v in config.items() if k not in ("cache", "flip", "gamma")})
    tensors, head = load_tensors(old/"cut"/"resume.safetensors")
    head["config"] = {k: v for k, v in head["config"].items() if k not in ("flip", "gamma")}
    save_tensors(old/"cut"/"resume.safetensors", tensors, **head)
    monkeypatch.setitem(record.BEFORE, "gamma", 0.5)
    run, training = written_settings(old/"cut")
    assert (run.cache, training.flip, training.gamma) == (None, True, 0.5)
    with pytest.raises(CufitError, match="gamma"): train_run(old/"cut", resume=True, **SETTINGS)
    monkeypatch.delitem(record.BEFORE, "gamma")
    assert train_run(old/"cut", resume=True, **SETTINGS)["epochs"] == 2


def test_a_store_is_opened_and_whole():
    splits = open_store(FOLDER/"store", 8)
    assert [len(s) for s in splits] == [28, 4, 8] and splits.test.images.shape == (8, 3, 8, 8)
    check_store(FOLDER/"store")


def test_what_a_method_saves_has_kept_its_names():
    now = {k: list(v.shape) for k, v in Cufit(load_backbone(), list("abcdefgh")).modules.state_dict().items()}
    assert now == json.loads((FOLDER/"cufit_tensors.json").read_text())


def test_embedded_weights_stay_loadable_when_others_follow(old, monkeypatch, tmp_path):
    "Another file takes the name `pocket_vit`; a run on the first one finds it under the name that it has kept, and says so when resumed."
    first = backbone.EMBEDDED["pocket_vit"]
    from cufit.frozen.pretrain import save_weights
    file = save_weights(backbone.pocket_vit(seed=7), tmp_path/"second.safetensors")
    monkeypatch.setattr(backbone, "_asset", lambda name, real=backbone._asset: file if name == "second.safetensors" else real(name))
    second = backbone.Embedded("second.safetensors", file_sha256(file), load_backbone(weights=str(file)).sha256)
    monkeypatch.setattr(backbone, "EMBEDDED", dict(pocket_vit=second, pocket_vit_1=first))
    assert load_backbone().sha256 == second.model != first.model == load_backbone("pocket_vit_1").sha256
    assert load_method(old/"linear").vit.sha256 == first.model
    assert abs(evaluate_run(old/"linear")["accuracy"]-read_json(old/"linear"/"metrics.json")["accuracy"]) < 2e-3
    assert train_run(old/"cut", resume=True, **SETTINGS)["epochs"] == 2


def test_watched_sets_of_which_one_module_was_heard(tmp_path):
    "A state as versions until 0.2.0 wrote it holds what the predicting module said; the others join from the next epoch on."
    from cufit.train.record import train_config
    splits = load("cells", limit=32)
    def run(epochs, **more):
        method, config = Cufit(load_backbone(), splits.train.classes), train_config(epochs=epochs, batch_size=16, lr=3e-3, milestones=(), checkpoint_seconds=0)
        return method.fit(splits.train, splits.val, config, tmp_path, dict(test=splits.test.subset(range(8))), **more)
    run(1)
    tensors, head = load_tensors(tmp_path/"resume.safetensors")
    save_tensors(tmp_path/"resume.safetensors", tensors | {"watch/test": tensors["watch/test"][:, -1].contiguous()}, **head)
    first, second = run(2, resume=True).predictions["test"]
    assert first.shape == second.shape == (3, 8)
    assert (first[:2] == -1).all() and (first[2] >= 0).all() and (second >= 0).all()
