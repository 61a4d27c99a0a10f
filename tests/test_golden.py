"The published arithmetic, pinned by arrays that the published implementation computed once."
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer

from cufit.data.noise import symmetric_labels
from cufit.frozen.backbone import FrozenViT
from cufit.train.loop import train_step
from cufit.methods.curriculum import Cufit

GOLDEN = Path(os.environ.get("CUFIT_GOLDEN", Path(__file__).parents[2]/"shared"/"golden"))
pytestmark = pytest.mark.skipif(not GOLDEN.is_dir(), reason=f"no golden arrays at {GOLDEN}; set CUFIT_GOLDEN to their folder")


@pytest.fixture(scope="module")
def rein(): return {k: torch.from_numpy(v) for k, v in np.load(GOLDEN/"rein.npz").items()}


@pytest.fixture(scope="module")
def curriculum(): return {k: torch.from_numpy(v) if v.ndim else v for k, v in np.load(GOLDEN/"curriculum.npz").items()}


def golden_vit(rein):
    model = VisionTransformer(img_size=70, patch_size=14, embed_dim=32, depth=3, num_heads=2, init_values=1.0, num_classes=0)
    model.load_state_dict({k[4:]: v for k, v in rein.items() if k.startswith("vfm.") and "mask_token" not in k})
    return FrozenViT(model, "golden")


def golden_cufit(rein, **options):
    "CUFIT with the golden parameters; what has no effect in the published adapters is left out."
    method = Cufit(golden_vit(rein), range(5), **options)
    for name in ("iam", "lam"):
        branch = method.modules[name]
        branch.adapter.load_state_dict(live_parameters(rein, name, branch.adapter.state_dict()))
        branch.head.load_state_dict({k: rein[f"{name}_head.{k}"] for k in ("weight", "bias")})
    method.modules["lpm"].load_state_dict({k: rein[f"lpm_head.{k}"] for k in ("weight", "bias")})
    return method


def live_parameters(rein, name, wanted):
    "The published adapter's parameters under our names, without the last block's tokens."
    ours = dict(tokens=rein[f"{name}.learnable_tokens"][:-1], scale=rein[f"{name}.scale"])
    for a, b in (("mlp_token", "mlp_token2feat"), ("mlp_delta", "mlp_delta_f")):
        ours |= {f"{a}.{k}": rein[f"{name}.{b}.{k}"] for k in ("weight", "bias")}
    assert ours.keys() == wanted.keys()
    return ours


@pytest.mark.parametrize("name", ["ham7", "aptos5", "blood8"])
@pytest.mark.parametrize("rate", [0.1, 0.2, 0.4, 0.6])
@pytest.mark.parametrize("seed", [0, 1])
def test_symmetric_noise_is_the_published_draw(name, rate, seed):
    golden = np.load(GOLDEN/"noise.npz")
    clean = golden[f"{name}_clean"].astype(np.int64)
    ours = symmetric_labels(clean, rate, seed, int(name[-1]))
    assert (ours != clean).any()
    np.testing.assert_array_equal(ours, golden[f"{name}_rate{rate}_seed{seed}"])


def test_class_tokens(rein):
    method = golden_cufit(rein)
    vit = method.vit
    shared = vit.start(rein["x"], 1)
    found = {"frozen": vit.finish(shared, 1)} | {n: vit.finish(shared, 1, method.modules[n].adapter) for n in ("iam", "lam")}
    assert (found["iam"]-found["frozen"]).abs().max() > 1e-2   # the adapters do something
    for name, token in found.items():
        torch.testing.assert_close(token, rein[f"tokens_{name}"][:, 0], atol=1e-5, rtol=0)


def efficient(rein, golden):
    method = golden_cufit(rein)
    optimizer = torch.optim.Adam(method.modules.parameters(), lr=float(golden["lr"]), weight_decay=1e-5)
    for p in method.modules.parameters(): p.grad = torch.zeros_like(p)
    seen = [train_step(method, Given(x, y), optimizer) for x, y in zip(golden["xs"], golden["ys"])]
    losses = torch.tensor([[s[n][0] for n in ("lpm", "iam", "lam")] for s in seen])
    return losses, [s["iam"][1] for s in seen], [s["lam"][1] for s in seen], method.logits(golden["x_test"])


@dataclass
class Given:
    "A batch whose images are given, not drawn."
    x: torch.Tensor
    labels: torch.Tensor
    def __len__(self): return len(self.labels)
    @property
    def whole(self): return len(self)


def naive(rein, golden, from_lesson):
    "The loop that lesson 5 writes out, on the same parameters."
    method = golden_cufit(rein)
    naive_step, = from_lesson("lessons/5_curriculum", dict(torch=torch, F=F), "naive_step")
    parts = dict(method.modules.items())
    optimizers = {n: torch.optim.Adam(m.parameters(), lr=float(golden["lr"]), weight_decay=1e-5) for n, m in parts.items()}
    seen = [naive_step(method.vit, parts, optimizers, x, y) for x, y in zip(golden["xs"], golden["ys"])]
    return torch.tensor([s[0] for s in seen]), [s[1] for s in seen], [s[2] for s in seen], method.logits(golden["x_test"])


@pytest.mark.parametrize("loop", ["naive", "efficient"])
def test_eight_steps_of_the_curriculum(rein, curriculum, loop, from_lesson):
    golden = curriculum
    losses, by_lpm, by_iam, logits = efficient(rein, golden) if loop == "efficient" else naive(rein, golden, from_lesson)
    assert 0 < golden["selected_by_iam"].float().mean() < 1
    torch.testing.assert_close(losses.double(), golden["losses"], atol=1e-4, rtol=0)
    assert torch.equal(torch.stack(by_lpm), golden["selected_by_lpm"])
    assert torch.equal(torch.stack(by_iam), golden["selected_by_iam"])
    for name, z in logits.items():
        torch.testing.assert_close(z, golden[f"logits_{name}"], atol=1e-4, rtol=0)


def test_a_probe_behind_the_final_norm_is_another_probe(rein, curriculum):
    "The golden LPM reads the class token before the norm; a rewrite that applies it would not pass."
    method = golden_cufit(rein)
    features = method.vit.features(curriculum["xs"][0])
    def loss(z): return F.cross_entropy(method.modules["lpm"](z), curriculum["ys"][0]).item()
    assert abs(loss(features)-curriculum["losses"][0, 0].item()) < 1e-4
    assert abs(loss(method.vit.norm(features))-curriculum["losses"][0, 0].item()) > 1e-2


def test_steps_agree_whatever_is_selected(rein, curriculum, from_lesson):
    "None, one or all of a batch rejected: naive and efficient give the same losses, selections and weights."
    for labels in (torch.full((12,), 99), None):   # 99 is replaced below by labels that nobody predicts
        methods = [golden_cufit(rein) for _ in range(2)]
        x = curriculum["xs"][0]
        z = methods[0].modules["lpm"](methods[0].vit.features(x))
        y = z.argmin(1) if labels is not None else z.argmax(1)
        naive_step, = from_lesson("lessons/5_curriculum", dict(torch=torch, F=F), "naive_step")
        parts = dict(methods[0].modules.items())
        optimizers = {n: torch.optim.Adam(m.parameters(), lr=1e-2, weight_decay=1e-2) for n, m in parts.items()}
        opt = torch.optim.Adam(methods[1].modules.parameters(), lr=1e-2, weight_decay=1e-2)
        for p in methods[1].modules.parameters(): p.grad = torch.zeros_like(p)
        for _ in range(2):
            losses, by_lpm, by_iam = naive_step(methods[0].vit, parts, optimizers, x, y)
            seen = train_step(methods[1], Given(x, y), opt)
            assert torch.equal(by_lpm, seen["iam"][1]) and torch.equal(by_iam, seen["lam"][1])
            np.testing.assert_allclose(losses, [seen[n][0] for n in ("lpm", "iam", "lam")], atol=1e-5)
        for a, b in zip(methods[0].modules.parameters(), methods[1].modules.parameters()): torch.testing.assert_close(a, b, atol=1e-4, rtol=0)
