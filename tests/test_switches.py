"Every switch that is meant to change the work and not the result: what it may change, and that it does something."
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import cufit.frozen.features
import cufit.train.loop
from cufit.core import CufitError, Team, global_seed, matrix_precision
from cufit.data.noise import corrupt
from cufit.drawn.cells import cells
from cufit.frozen.backbone import load_backbone
from cufit.train.record import train_config
from cufit.train.batch import Batch
from cufit.train.loop import train_step
from cufit.train.optimizer import make_optimizer
from cufit.methods.probe import Linear
from cufit.methods.adapters import Rein
from cufit.methods.curriculum import Cufit
from cufit.run.experiment import evaluate_run, train_run

CONFIG = train_config(epochs=2, batch_size=16, lr=3e-3)


@pytest.fixture(scope="module")
def vit(): return load_backbone()


@pytest.fixture(scope="module")
def sets():
    s = cells(n_train=70, n_val=24, n_test=24, size=56, seed=0)   # larger than the input, so that crops are drawn too
    return corrupt(s.train, "symmetric", 0.4, 0)[0], s.val, s.test


def fitted(vit, sets, config=CONFIG, **options):
    method = Cufit(vit, sets[0].classes, **options)
    return method, method.fit(*sets[:2], config)


def test_memory_mapped_images_train_to_the_same_bits(vit, sets, tmp_path, monkeypatch):
    np.save(tmp_path/"images.npy", sets[0].images)
    mapped = replace(sets[0], images=np.load(tmp_path/"images.npy", mmap_mode="r"))
    assert isinstance(mapped.images, np.memmap)
    fetched = []
    monkeypatch.setattr(cufit.train.loop, "fetched_ahead", lambda batches, real=cufit.train.loop.fetched_ahead: fetched.append(1) or real(batches))
    (a, _), (b, _) = fitted(vit, sets), fitted(vit, (mapped, *sets[1:]))
    assert len(fetched) == CONFIG.epochs, "only the mapped run reads ahead"
    assert all(torch.equal(p, q) for p, q in zip(a.last.values(), b.last.values()))


def test_cached_views_change_the_draw_and_nothing_else(vit, sets):
    "Handed the features of the very images of the step, the cached LPM computes the exact step; handed others, another one."
    def step(views):
        method = Cufit(vit, sets[0].classes, views=views)
        kept = torch.zeros(max(views, 1), len(sets[0]), vit.dim)
        batch = Batch(sets[0], torch.arange(16), vit, torch.Generator().manual_seed(0), inputs=method.reads(True), kept=dict(lpm=kept))
        if views: kept[:, :16] = vit.features(batch.x) + (0 if views == 1 else 5)
        return train_step(method, batch, make_optimizer(method, CONFIG)), method
    (exact, a), (same, b), (other, _) = step(0), step(1), step(2)
    for n in exact: assert torch.allclose(exact[n][0], same[n][0], atol=1e-6) and torch.equal(exact[n][1], same[n][1])
    assert all(torch.allclose(p, q, atol=1e-6) for p, q in zip(a.modules.parameters(), b.modules.parameters()))
    assert not torch.allclose(exact["lpm"][0], other["lpm"][0], atol=1e-3)


def test_cached_views_are_named_and_train(vit, sets, tmp_path):
    method, history = fitted(vit, sets, views=3)
    views = method.kept["lpm"]
    assert views.shape == (3, len(sets[0]), vit.dim) and not torch.equal(views[0], views[1])
    assert method.gflop() < Cufit(vit, sets[0].classes).gflop()
    assert 0 < history.selection[:, 2].mean() < 1
    metrics = train_run(tmp_path/"run", splits=cells(n_train=64, n_val=16, n_test=40, size=48), epochs=1, noise=0.4, views=2, say=lambda line: None)
    assert json.loads((tmp_path/"run"/"config.json").read_text())["views"] == 2 and metrics["method"] == "cufit"
    with pytest.raises(CufitError, match="views=2"): train_run(tmp_path/"other", method="rein", views=2)


def test_kept_features_are_read_and_change_no_bit(vit, sets, tmp_path, monkeypatch):
    "A second run on the same images passes none of them through the backbone, and ends with the same bits."
    def run(method, cache):
        method = method(vit, sets[0].classes, views=2)
        method.cache = cache
        method.fit(*sets[:2], CONFIG)
        return method.last
    plain, first = run(Linear, None), run(Linear, tmp_path/"features")
    kept = sorted((tmp_path/"features").glob("*.npy"))
    assert len(kept) == 2, "views of train, centre crops of validation"
    def refuse(*args, **kwargs): raise AssertionError("an image went through the backbone")
    monkeypatch.setattr(cufit.frozen.features, "extract", refuse)
    again = run(Linear, tmp_path/"features")
    for other in (first, again): assert all(torch.equal(p, q) for p, q in zip(plain.values(), other.values()))
    with pytest.raises(AssertionError, match="went through"): run(Linear, tmp_path/"elsewhere")


def test_tf32_stays_inside_the_step(vit, sets):
    "A CPU ignores it, so the results are those of float32; inside the step it is set, outside it is what it was."
    seen = []
    class Watched(Cufit):
        def step(self, batch):
            seen.append(torch.get_float32_matmul_precision())
            yield from super().step(batch)
    before = torch.get_float32_matmul_precision()
    a, b = (Watched(vit, sets[0].classes) for _ in range(2))
    a.fit(*sets[:2], CONFIG); b.fit(*sets[:2], replace(CONFIG, precision="tf32"))
    assert set(seen[:len(seen)//2]) == {"highest"} and set(seen[len(seen)//2:]) == {"high"}
    assert torch.get_float32_matmul_precision() == before
    assert all(torch.allclose(p, q, atol=1e-3) for p, q in zip(a.last.values(), b.last.values()))
    with pytest.raises(CufitError, match="tf32"), matrix_precision("tf31"): pass


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="torch.compile on a CPU needs a C++ compiler; none was found")
def test_compiled_backbone_gives_the_same_numbers_and_gradients(vit):
    with global_seed(0, "compile"): rein, x = Rein(vit), torch.randn(3, 3, 48, 48)
    def run():
        rein.zero_grad()
        f = vit.finish(vit.start(x, 1), 1, rein)
        f.square().mean().backward()
        return f.detach(), [p.grad.clone() for p in rein.parameters()]
    f, grads = run()
    with vit.compiled():
        assert "finish" in vars(vit) and "start" in vars(vit)
        g, compiled = run()
    assert "finish" not in vars(vit) and "start" not in vars(vit)
    torch.testing.assert_close(f, g, atol=1e-4, rtol=1e-4)
    for a, b in zip(grads, compiled): assert torch.linalg.norm(a-b) <= 1e-2*torch.linalg.norm(a)
    with vit.compiled(): pass   # entered again, it is there at once and leaves nothing behind
    assert "finish" not in vars(vit)


def test_two_processes_are_one_run(tmp_path):
    "Shared batches, summed gradients, a record gathered by row: the scores of one process, up to the order of sums."
    root = Path(__file__).parents[1]
    options = ["train", "--data", "cells", "--limit", "70", "--epochs", "2", "--lr", "3e-3", "--batch-size", "16", "--curves", "16", "--device", "cpu", "--noise", "0.4"]   # 70 rows: the last batch has 6
    env = os.environ | {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1", "ACCELERATE_USE_CPU": "true"}
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]   # what `accelerate launch` itself starts; for CPUs it wants MPI instead
    script = str(Path(sys.executable).parent/"cufit")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)   # as both of them have
    try: train_run(tmp_path/"one", data="cells", limit=70, epochs=2, lr=3e-3, batch_size=16, curves=16, device="cpu", noise=.4, say=lambda line: None)
    finally: torch.set_num_threads(threads)
    done = subprocess.run([sys.executable, *launch, script, *options, "--out", str(tmp_path/"two")], cwd=root, env=env, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr[:3000]+done.stderr[-3000:]
    one, two = (json.loads((tmp_path/o/"metrics.json").read_text()) for o in ("one", "two"))
    assert (one["processes"], two["processes"]) == (1, 2)
    assert done.stdout.count("Run folder") == 1, "only one of the processes may talk"
    a, b = (np.load(tmp_path/o/"selection.npz")["trained"] for o in ("one", "two"))
    assert a.shape == b.shape and a.shape[:2] == (2, 3) and a[:, 0].all() and b[:, 0].all() and 0 < b[:, 2].mean() < 1
    assert (a == b).mean() > 0.99
    assert abs(one["accuracy"]-two["accuracy"]) < 0.01
    p, q = (load_file(tmp_path/o/"last.safetensors") for o in ("one", "two"))
    start = Cufit(load_backbone(), json.loads((tmp_path/"one"/"metrics.json").read_text())["classes"]).modules.state_dict()
    moved = sum(float((p[k]-start[k]).abs().sum()) for k in p)
    gap = sum(float((p[k]-q[k]).abs().sum()) for k in p)
    assert gap < 0.02*moved, f"the weights moved by {moved:.2f} in all, but differ by {gap:.2f}"


def test_shares_of_a_batch_sum_to_its_gradient(vit, sets, monkeypatch):
    "Two processes played one after the other: their losses and gradients add up to those of the whole batch."
    def gradients(rank, size):
        crew = Team(); crew.rank, crew.size, crew.sum = rank, size, lambda x: x
        for room in (cufit.train.loop, cufit.train.batch, cufit.train.optimizer): monkeypatch.setattr(room, "team", lambda: crew)
        method = Cufit(vit, sets[0].classes)
        batch = Batch(sets[0], torch.arange(15), vit, torch.Generator().manual_seed(0))   # 8 and 7 rows
        opt = make_optimizer(method, CONFIG)
        monkeypatch.setattr(opt, "step", lambda: None)
        seen = train_step(method, batch, opt)
        return {n: s[0] for n, s in seen.items()}, [p.grad.clone() for p in method.modules.parameters()]
    whole, first, second = gradients(0, 1), gradients(0, 2), gradients(1, 2)
    for n in whole[0]: torch.testing.assert_close(first[0][n]+second[0][n], whole[0][n], atol=1e-5, rtol=1e-4)
    for w, a, b in zip(whole[1], first[1], second[1]):
        assert torch.linalg.norm(a+b-w) <= 1e-3*torch.linalg.norm(w)+1e-9
    assert sum(float(torch.linalg.norm(b)) for b in second[1]) > 1e-3


def test_a_store_speaks_of_its_own_data_only(tmp_path):
    "A run from a store scores other data as other data, and the store refuses another source or limit."
    from PIL import Image
    for name, n in (("a", 120), ("b", 160)):
        drawn = cells(n_train=n, n_val=8, n_test=8, size=48, seed=0).train
        for i in range(len(drawn)):
            path = tmp_path/name/drawn.classes[drawn.labels[i]]/f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(drawn.images[i].transpose(1, 2, 0)).save(path)
    settings = dict(epochs=1, say=lambda line: None, store=str(tmp_path/"store"), method="linear")
    train_run(tmp_path/"run", data=str(tmp_path/"a"), **settings)
    own, other = evaluate_run(tmp_path/"run"), evaluate_run(tmp_path/"run", data=str(tmp_path/"b"))
    assert own["data"] != other["data"] and 0 < own["n"] < other["n"]
    with pytest.raises(CufitError, match="was built from"): train_run(tmp_path/"second", data=str(tmp_path/"b"), **settings)
    with pytest.raises(CufitError, match="limit"): train_run(tmp_path/"third", data=str(tmp_path/"store"), limit=40, method="linear", epochs=1)
