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

from cufit.adapters import Rein
from cufit.backbone import load_backbone
from cufit.cells import cells
from cufit.core import CufitError, global_seed, matrix_precision
from cufit.curriculum import Cufit
from cufit.experiment import train_run
from cufit.learner import Batch, make_optimizer, train_config, train_step
from cufit.noise import corrupt

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


def test_memory_mapped_images_train_to_the_same_bits(vit, sets, tmp_path):
    np.save(tmp_path/"images.npy", sets[0].images)
    mapped = replace(sets[0], images=np.load(tmp_path/"images.npy", mmap_mode="r"))
    assert isinstance(mapped.images, np.memmap)
    (a, _), (b, _) = fitted(vit, sets), fitted(vit, (mapped, *sets[1:]))
    assert all(torch.equal(p, q) for p, q in zip(a.last.values(), b.last.values()))


def test_cached_views_change_the_draw_and_nothing_else(vit, sets):
    "Handed the features of the very images of the step, the cached LPM computes the exact step; handed others, another one."
    def step(views):
        method = Cufit(vit, sets[0].classes, views=views)
        batch = Batch(sets[0], torch.arange(16), vit, torch.Generator().manual_seed(0))
        if views:
            batch.images   # drawn first, as in a step
            method.views = torch.zeros(views, len(sets[0]), vit.dim)
            method.views[:, :16] = vit.features(batch.x) + (0 if views == 1 else 5)
        return train_step(method, batch, make_optimizer(method, CONFIG)), method
    (exact, a), (same, b), (other, _) = step(0), step(1), step(2)
    for n in exact: assert torch.allclose(exact[n][0], same[n][0], atol=1e-6) and torch.equal(exact[n][1], same[n][1])
    assert all(torch.allclose(p, q, atol=1e-6) for p, q in zip(a.modules.parameters(), b.modules.parameters()))
    assert not torch.allclose(exact["lpm"][0], other["lpm"][0], atol=1e-3)


def test_cached_views_are_named_and_train(vit, sets, tmp_path):
    method, history = fitted(vit, sets, views=3)
    assert method.views.shape == (3, len(sets[0]), vit.dim) and not torch.equal(method.views[0], method.views[1])
    assert method.gflop() < Cufit(vit, sets[0].classes).gflop()
    assert 0 < history.selection[:, 2].mean() < 1
    metrics = train_run(tmp_path/"run", limit=64, epochs=1, views=2, say=lambda line: None)
    assert json.loads((tmp_path/"run"/"config.json").read_text())["views"] == 2 and metrics["method"] == "cufit"
    with pytest.raises(CufitError, match="views=2"): train_run(tmp_path/"other", method="rein", views=2)


def test_tf32_stays_inside_the_step(vit, sets):
    "A CPU ignores it, so the bits are the same; the global setting is what it was."
    before = torch.get_float32_matmul_precision()
    (a, _), (b, _) = fitted(vit, sets), fitted(vit, sets, replace(CONFIG, precision="tf32"))
    assert torch.get_float32_matmul_precision() == before
    assert all(torch.allclose(p, q, atol=1e-3) for p, q in zip(a.last.values(), b.last.values()))
    with matrix_precision("tf32"): assert torch.get_float32_matmul_precision() == "high"


@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="torch.compile on a CPU needs a C++ compiler; none was found")
def test_compiled_backbone_gives_the_same_numbers_and_gradients(vit):
    with global_seed(0, "compile"): rein, x = Rein(vit), torch.randn(3, 3, 48, 48)
    def run():
        rein.zero_grad()
        f = vit.finish(vit.start(x, 1), 1, rein)
        f.square().mean().backward()
        return f.detach(), [p.grad.clone() for p in rein.parameters()]
    (f, grads), eager = run(), vit.finish
    with vit.compiled():
        assert vit.finish is not eager
        g, compiled = run()
    assert "finish" not in vars(vit) and "start" not in vars(vit)
    torch.testing.assert_close(f, g, atol=1e-4, rtol=1e-4)
    for a, b in zip(grads, compiled): torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-3)


def test_two_processes_are_one_run(tmp_path):
    "Shared batches, summed gradients, a record gathered by row: the scores of one process, up to the order of sums."
    root = Path(__file__).parents[1]
    options = ["train", "--data", "cells", "--limit", "70", "--epochs", "2", "--lr", "3e-3", "--batch-size", "16", "--curves", "16", "--device", "cpu"]   # 70 rows: the last batch has 6
    env = os.environ | {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1", "ACCELERATE_USE_CPU": "true"}
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]   # what `accelerate launch` itself starts; for CPUs it wants MPI instead
    script = str(Path(sys.executable).parent/"cufit")
    for out, start in (("one", [script]), ("two", [*launch, script])):
        done = subprocess.run([sys.executable, *start, *options, "--out", str(tmp_path/out)], cwd=root, env=env, capture_output=True, text=True, timeout=400)
        assert done.returncode == 0, done.stderr[-3000:]
    one, two = (json.loads((tmp_path/o/"metrics.json").read_text()) for o in ("one", "two"))
    assert (one["processes"], two["processes"]) == (1, 2)
    assert done.stdout.count("Run folder") == 1, "only one of the processes may talk"
    a, b = (np.load(tmp_path/o/"selection.npz")["trained"] for o in ("one", "two"))
    assert a.shape == b.shape and a.shape[:2] == (2, 3) and a[:, 0].all() and b[:, 0].all() and 0 < b[:, 2].mean() < 1
    assert (a == b).mean() > 0.99
    assert abs(one["accuracy"]-two["accuracy"]) < 0.01
    from safetensors.torch import load_file
    p, q, start = (load_file(tmp_path/o/"last.safetensors") for o in ("one", "two", "one"))
    for k in p: torch.testing.assert_close(p[k], q[k], atol=2e-3, rtol=0)
