"Contracts between the rooms that no single lesson owns."
import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from cufit.core import CufitError, load_tensors, save_tensors
from cufit.data.noise import corrupt
from cufit.drawn.cells import cells
from cufit.frozen.backbone import load_backbone
from cufit.frozen.model import weights_sha256
from cufit.train.record import train_config
from cufit.train.batch import Batch
from cufit.train.loop import train_step
from cufit.train.optimizer import make_optimizer
from cufit.train.contract import METHODS, load_method
from cufit.run.settings import RunConfig, add_noise, load_splits
from cufit.run.experiment import train_run
import cufit.methods.adapters, cufit.methods.curriculum, cufit.methods.probe  # noqa: E401, F401  they register their methods

CONFIG = train_config(epochs=2, batch_size=16, lr=3e-3)
OPTIONS = {"linear": {}, "rein": {}, "cufit": {}, "ridge": {}, "wann": {}}


@pytest.fixture(scope="module")
def vit(): return load_backbone()


@pytest.fixture(scope="module")
def sets():
    s = cells(n_train=64, n_val=24, n_test=24, size=48, seed=0)
    return corrupt(s.train, "symmetric", 0.4, 0)[0], s.val, s.test


def global_state(): return torch.random.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()


@pytest.mark.parametrize("name", OPTIONS)
def test_training_leaves_backbone_and_global_generators_alone(name, vit, sets):
    before, weights = global_state(), weights_sha256(vit.model)
    method = METHODS[name](vit, sets[0].classes)
    method.fit(*sets[:2], CONFIG)
    method.predict(sets[2])
    after = global_state()
    assert torch.equal(before[0], after[0]) and (before[1] == after[1]).all() and before[2] == after[2]
    assert weights_sha256(vit.model) == weights
    assert all(p.grad is None and not p.requires_grad for p in vit.model.parameters())


@pytest.mark.parametrize("name", OPTIONS)
def test_same_seed_same_bits_and_files_keep_them(name, vit, sets, tmp_path):
    def fitted(seed, folder=None):
        m = METHODS[name](vit, sets[0].classes, seed)
        m.fit(*sets[:2], replace(CONFIG, seed=seed), folder)
        return m.predict_proba(sets[2])
    first = fitted(0, tmp_path)
    assert np.array_equal(first, fitted(0))
    assert np.array_equal(first, load_method(tmp_path).predict_proba(sets[2]))   # finds the backbone by itself
    assert np.allclose(first.sum(1), 1, atol=1e-5)
    if name in ("linear", "rein", "cufit"): assert not np.array_equal(first, fitted(1))


@pytest.mark.parametrize("name", ["linear", "rein", "cufit"])
def test_every_trained_parameter_gets_a_gradient(name, vit, sets):
    "From the losses, in the first step: weight decay moves weights too, so that they move would prove nothing."
    m = METHODS[name](vit, sets[0].classes)
    m.prepare(sets[0], CONFIG)
    batch = Batch(sets[0], torch.arange(64), vit, torch.Generator().manual_seed(0))
    with torch.no_grad(): said = [z.argmax(1) for z in m.logits(batch.x).values()]
    labels = said[0].clone(); labels[::2] = said[-1 if len(said) == 1 else 1][::2]   # first and second module agree with half of them each
    batch.__dict__["labels"] = labels
    train_step(m, batch, make_optimizer(m, CONFIG))
    assert not [k for k, p in m.modules.named_parameters() if not p.grad.abs().sum() > 0]


def test_a_method_is_handed_given_labels_only(vit):
    "The image sets that reach `fit` carry no trace of the truth; validation is noisy unless it is the oracle."
    config = RunConfig(limit=64, noise=0.4)
    splits = load_splits(config, 48)
    train, val, record = add_noise(splits, config)
    assert (train.labels == record.given).all() and (train.labels != record.clean).any() and not hasattr(train, "clean")
    assert (val.labels != splits.val.labels).any()
    assert (add_noise(splits, replace(config, clean_val=True))[1].labels == splits.val.labels).all()
    flips = lambda a, b: (a.labels != b.labels).astype(int)
    n = min(len(val), len(train))
    assert (flips(train, splits.train)[:n] != flips(val, splits.val)[:n]).any()   # a seed of its own


def test_selection_is_recorded_by_row(vit, sets):
    "Rows the record names are the rows whose prediction equalled the label, whatever the order of the batches."
    m = METHODS["cufit"](vit, sets[0].classes)
    history = m.fit(*sets[:2], replace(CONFIG, epochs=1, lr=1e-9, batch_size=10, flip=False))
    trained = history.selection[0]
    z = METHODS["cufit"](vit, sets[0].classes).evaluate(sets[0])   # at this learning rate nothing has moved
    for module, judge in ((1, "lpm"), (2, "iam")):
        assert np.array_equal(trained[module], (z[judge].argmax(1).numpy() == sets[0].labels))
    assert 0 < trained[1].mean() < 1


def test_empty_selection_still_steps(vit, sets):
    "Labels that nobody predicts: no row is handed on, losses are zero, and Adam's weight decay still moves the weights."
    m = METHODS["cufit"](vit, sets[0].classes)
    batch = Batch(sets[0], torch.arange(32), vit, torch.Generator().manual_seed(0))
    z = m.logits(batch.x)
    order = (z["lpm"].argsort(1)[:, 0], z["iam"].argmax(1))
    batch.__dict__["labels"] = torch.where(order[0] == order[1], z["lpm"].argsort(1)[:, 1], order[0])
    before = m.modules["lam"].head.weight.detach().clone()
    seen = train_step(m, batch, make_optimizer(m, CONFIG))
    assert not seen["iam"][1].any() and not seen["lam"][1].any()
    assert seen["iam"][0] == 0 and seen["lam"][0] == 0
    assert not torch.equal(before, m.modules["lam"].head.weight)


def test_run_resumes_to_the_same_metrics(tmp_path, dies):
    "A run that dies in its third epoch and is resumed ends with the scores of one that did not."
    settings = dict(splits=cells(n_train=64, n_val=16, n_test=40, size=48), epochs=4, lr=3e-3, noise=0.4, checkpoint_seconds=0, say=lambda line: None)
    whole = train_run(tmp_path/"whole", **settings)
    with dies(3), pytest.raises(KeyboardInterrupt): train_run(tmp_path/"cut", **settings)
    resumed = train_run(tmp_path/"cut", resume=True, **settings)
    facts = lambda m: {k: v for k, v in m.items() if k not in ("seconds", "cost", "seconds_expected", "peak_megabytes")}
    assert facts(whole) == facts(resumed)
    assert np.array_equal(np.load(tmp_path/"whole"/"selection.npz")["trained"], np.load(tmp_path/"cut"/"selection.npz")["trained"])


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_stays_close(vit, sets, precision):
    "It changes probabilities a little and the weights' type not at all."
    full, half = (METHODS["cufit"](vit, sets[0].classes) for _ in range(2))
    full.fit(*sets[:2], replace(CONFIG, epochs=1, lr=1e-4)); half.fit(*sets[:2], replace(CONFIG, epochs=1, lr=1e-4, precision=precision))
    gap = np.abs(full.predict_proba(sets[2])-half.predict_proba(sets[2])).max()
    assert 0 < gap < 0.05 and all(p.dtype == torch.float32 for p in half.modules.parameters())


def test_float16_skips_a_step_that_overflows(vit, sets):
    "Nothing is updated, the scale falls, and the same step with the lower scale goes through; without a scaler it is refused."
    m = METHODS["cufit"](vit, sets[0].classes)
    opt, scaler = make_optimizer(m, CONFIG), torch.amp.GradScaler("cpu", init_scale=2.**40)
    step = lambda **kwargs: train_step(m, Batch(sets[0], torch.arange(16), vit, torch.Generator().manual_seed(0)), opt, "float16", **kwargs)
    before = {k: v.clone() for k, v in m.modules.state_dict().items()}
    step(scaler=scaler)
    assert scaler.get_scale() == 2.**39 and all(torch.equal(v, before[k]) for k, v in m.modules.state_dict().items())
    scaler.update(4096.)
    step(scaler=scaler)
    assert not torch.equal(m.modules["lam"].head.weight, before["lam.head.weight"])
    with pytest.raises(CufitError, match="loss scaler"): step()


def test_float16_run_resumes_with_its_scale(vit, sets, tmp_path):
    config = replace(CONFIG, epochs=2, precision="float16", checkpoint_seconds=0)
    def fitted(folder, resume=False):
        m = METHODS["linear"](vit, sets[0].classes)
        m.fit(*sets[:2], config, folder=folder, resume=resume)
        return load_tensors(folder/"resume.safetensors")
    tensors, head = fitted(tmp_path)
    assert head["scaler"]["scale"] == 4096 and head["scaler"]["_growth_tracker"] == 2*-(-len(sets[0])//config.batch_size)
    head["scaler"] |= {"scale": 64., "_growth_tracker": 3}   # as if it had overflowed
    save_tensors(tmp_path/"resume.safetensors", tensors, **head | dict(epoch=1))
    assert fitted(tmp_path, resume=True)[1]["scaler"]["scale"] == 64


def test_logits_that_are_not_finite_are_refused(vit, sets):
    m = METHODS["linear"](vit, sets[0].classes)
    with torch.no_grad(): next(m.modules.parameters()).fill_(float("inf"))
    with pytest.raises(CufitError, match="not finite"): m.predict(sets[2])


def test_hub_without_network_says_what_to_do(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import huggingface_hub.constants as constants
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(CufitError) as e: load_backbone("vit_small_patch14_dinov2.lvd142m")
    for word in ("hub", "weights=", "pocket_vit", "HF_HOME"): assert word in str(e.value)


@pytest.mark.parametrize("capability, bfloat16, expected", [((6, 0), False, "float32"), ((7, 5), False, "float16"), ((8, 9), True, "bfloat16")])
def test_precision_follows_the_tensor_cores(monkeypatch, capability, bfloat16, expected):
    "A P100 has none, a T4 multiplies in float16 only, an L4 in bfloat16; without a GPU it is float32."
    from cufit.run.protocol import native_precision
    assert native_precision("cpu") == "float32"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: capability)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: bfloat16 or including_emulation)
    assert native_precision("cuda") == expected
