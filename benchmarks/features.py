"""Frozen features and what stands on them: extraction by batch size, inference with the LAM, probes against scikit-learn.

    python benchmarks/features.py
    python benchmarks/features.py --backbone vit_small_patch14_dinov2 --precision bfloat16 --images 4096     on a GPU

Extraction and inference are held against timm's own forward pass of the bare model on the same normalised images; a
profile says which operations extraction spends its time in. The probes see 12,000 drawn features of 384 numbers in 8 overlapping classes; scikit-learn sees the same."""
import copy
import statistics
from collections import Counter
from contextlib import nullcontext
from unittest.mock import patch

import numpy as np
import torch
from common import facts, in_turns, machine, parser, ratio, record, table, wait
from sklearn.linear_model import LogisticRegression
from sklearn.linear_model import Ridge as SklearnRidge

from cufit.core import autocast, generator, matrix_precision
from cufit.data.imageset import ImageSet
from cufit.frozen.backbone import load_backbone
from cufit.frozen.features import extract
from cufit.train.record import train_config
from cufit.train.optimizer import make_optimizer
from cufit.train.loop import train_epoch
from cufit.methods.probe import Linear, ridge_path
from cufit.methods.curriculum import Cufit

COLUMNS = dict(what="what", setting="setting", seconds="seconds (median)", rate="images a second", yardstick="yardstick", over="times its time", low="lowest", high="highest", note="note", machine="machine", date="date")
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1., 10.)


def images(n, size): return ImageSet(np.random.default_rng(0).integers(0, 256, (n, 3, size, size), dtype=np.uint8), np.arange(n) % 8, np.arange(n), tuple("abcdefgh"))


def row(what, setting, seconds, yardstick, base, n=None, note="", device="cpu"):
    mid, low, high = ratio(seconds, base)
    found = dict(what=what, setting=setting, seconds=f"{statistics.median(seconds):.3f}", rate=f"{n/statistics.median(seconds):.1f}" if n else "", yardstick=yardstick, over=f"{mid:.2f}", low=f"{low:.2f}", high=f"{high:.2f}", note=note, **facts(device))
    print(f"{what}, {setting}: {found['seconds']} s, {mid:.2f} ({low:.2f} to {high:.2f}) times {yardstick} {note}", flush=True)
    return found


def matrix_rate(device, precision):
    "GFLOP/s of square matrix products on this device."
    n, dtype = (8192, torch.bfloat16) if device.type == "cuda" and precision == "bfloat16" else (2048, torch.float32)
    a = torch.randn(n, n, device=device, dtype=dtype)
    s = in_turns(dict(matmul=lambda: a @ a), 5, device)["matmul"]
    return 2*n**3/statistics.median(s)/1e9


def profile(f, device):
    "The operations that `f` spends its time in, with their shares."
    at = "self_device_time_total" if device.type == "cuda" else "self_cpu_time_total"
    with torch.profiler.profile() as prof: f(); wait(device)
    spent = Counter({e.key.removeprefix("aten::"): getattr(e, at) for e in prof.key_averages()})
    return ", ".join(f"{n} {100*s/spent.total():.0f} %" for n, s in spent.most_common(8))


@torch.no_grad()
def extraction(vit, args):
    "Batch sizes of `extract` against timm's forward at batch 32, and the LAM's inference."
    data = images(args.images, vit.img_size)
    def bare(batch, model=vit.model):
        for start in range(0, len(data), batch):
            x = vit.normalise(torch.from_numpy(data.images[start:start+batch].copy()))
            if model is last: x = x.to(memory_format=torch.channels_last)
            with autocast(vit.device, args.precision), matrix_precision(args.precision): found = model(x)
        return found
    lam = Cufit(vit, data.classes)
    found = extract(vit, data, batch_size=32)
    theirs = vit.norm(found[:4].to(vit.device))
    torch.testing.assert_close(theirs, vit.model(vit.normalise(torch.from_numpy(data.images[:4].copy()))), atol=1e-3, rtol=1e-3)
    runs = {f"batch {b}": (lambda b=b: extract(vit, data, batch_size=b, precision=args.precision)) for b in args.batches}
    runs["batch found by itself"] = lambda: extract(vit, data, precision=args.precision)
    last = copy.deepcopy(vit.model).to(memory_format=torch.channels_last)
    written = copy.deepcopy(vit.model)
    for b in written.blocks: b.attn.fused_attn = False   # of timm: the attention matrix is written out
    runs |= dict(timm=lambda: bare(32), last=lambda: bare(32, last), written=lambda: bare(32, written), lam=lambda: lam.evaluate(data, ["lam"], 32, args.precision))
    seconds, rate = in_turns(runs, args.repeats, vit.device), matrix_rate(vit.device, args.precision)
    def used(s): return f"{100*vit.gflop()*len(data)/statistics.median(s)/rate:.0f} % of the machine's matrix rate ({rate:,.0f} GFLOP/s)"
    name = f"{args.backbone}, {vit.img_size} px, {args.precision}"
    rows = [row("extraction", f"{name}, {k}", s, "timm's forward, batch 32", seconds["timm"], len(data), used(s), vit.device) for k, s in seconds.items() if k.startswith("batch")]
    rows.append(row("extraction, profile", f"{name}, batch 32", seconds["batch 32"], "timm's forward, batch 32", seconds["timm"], len(data), profile(runs["batch 32"], vit.device), vit.device))
    for what, k in (("channels last", "last"), ("attention written out, without SDPA", "written")): rows.append(row(f"timm's forward, {what}", name, seconds[k], "timm's forward, batch 32", seconds["timm"], len(data), device=vit.device))
    return rows + [row("inference with the LAM", name, seconds["lam"], "timm's forward, batch 32", seconds["timm"], len(data), device=vit.device)]


def drawn_features(n=12_000, dim=384, k=8):
    "Class means and noise, 40 % of the labels replaced, as a frozen model's features look; and as many clean ones to test."
    g = generator(0, "features")
    means, labels = 0.16*torch.randn(k, dim, generator=g), torch.randint(k, (2*n,), generator=g)
    x = means[labels] + torch.randn(2*n, dim, generator=g)
    given = torch.where(torch.rand(n, generator=g) < 0.4, torch.randint(k, (n,), generator=g), labels[:n])
    return x[:n], given, x[n:], labels[n:]


def probes(args):
    x, y, x_test, y_test = drawn_features()
    vit = load_backbone("vit_small_patch14_dinov2", "random", 224)   # for its width; no image goes through it
    data = ImageSet(np.zeros((len(x), 3, 1, 1), np.uint8), y.numpy(), np.arange(len(x)), tuple("abcdefgh"))
    score, right = {}, lambda z: 100*(z.argmax(1) == y_test).float().mean().item()
    x64, test64 = x.double().numpy(), x_test.double().numpy()
    def ours(batch):
        config, method = train_config(epochs=100, batch_size=batch), Linear(vit, data.classes, views=1)
        method.kept, opt = dict(f=x[None]), make_optimizer(method, config)
        for epoch in range(config.epochs): train_epoch(method, data, config, epoch, opt)
        score[f"batch {batch}"] = right(method.modules["linear"](x_test))
    def sklearn():
        m = LogisticRegression(max_iter=1000).fit(x.numpy(), y.numpy())
        score["sklearn"] = right(torch.from_numpy(m.decision_function(x_test.numpy())))
    def ridge(): score["ridge"] = max(right(x_test @ w.T + b) for w, b in ridge_path(x, y, 8, STRENGTHS))
    def sklearn_ridge():
        one, mean = torch.nn.functional.one_hot(y, 8).double().numpy(), float(x.double().sub(x.double().mean(0)).square().sum()/x.shape[1])
        score["sklearn ridge"] = max(right(torch.from_numpy(SklearnRidge(alpha=s*mean).fit(x64, one).predict(test64))) for s in STRENGTHS)
    def all_threads():   # instead of one, which small steps take
        with patch("cufit.train.loop.threads_for", lambda method: nullcontext()): ours(512)
    more = {"batch 512, all threads": all_threads} if torch.get_num_threads() > 1 else {}
    seconds = in_turns(more | {"batch 512": lambda: ours(512), "batch 32": lambda: ours(32), "sklearn": sklearn, "ridge": ridge, "sklearn ridge": sklearn_ridge}, args.repeats)
    setting = "12,000 x 384, 8 classes, 40 % of labels drawn anew"
    rows = [row(f"linear probe, 100 epochs, {b}", setting, s, "LogisticRegression", seconds["sklearn"], note=f"test {score[b.partition(',')[0]]:.2f} against {score['sklearn']:.2f} %") for b, s in seconds.items() if b.startswith("batch")]
    return rows + [row(f"ridge, {len(STRENGTHS)} strengths", setting, seconds["ridge"], "sklearn's Ridge, one after the other", seconds["sklearn ridge"], note=f"test {score['ridge']:.2f} against {score['sklearn ridge']:.2f} %")]


def main():
    p = parser(__doc__, repeats=3)
    p.add_argument("--backbone", default="deit_tiny_patch16_224"); p.add_argument("--img-size", type=int, default=224); p.add_argument("--images", type=int, default=64)
    p.add_argument("--batches", type=int, nargs="+", default=[1, 4, 16, 32, 64], help="32 has to be among them"); p.add_argument("--precision", default="float32"); p.add_argument("--skip-probes", action="store_true")
    args = p.parse_args()
    if args.table: return table("features", COLUMNS)
    if 32 not in args.batches: p.error("--batches needs 32: it is profiled")
    if args.threads: torch.set_num_threads(args.threads)
    vit = load_backbone(args.backbone, "random", None if args.backbone == "pocket_vit" else args.img_size, device=args.device)
    rows = extraction(vit, args) + ([] if args.skip_probes else probes(args))
    record("features", rows, ("what", "setting", "machine"))   # a row of another machine or thread count stays
    print(machine())


if __name__ == "__main__": main()
