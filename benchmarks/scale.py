"""How the cost of a step grows: with resolution, backbone, share of rejected samples, batch and method, against the
published loop (a step of CUFIT, whatever the method); and that of an epoch with the number of images and with the
tokens of the adapter, by themselves.

    python benchmarks/scale.py"""
import statistics
from functools import partial
from types import SimpleNamespace

import torch
from common import facts, in_turns, machine, parser, record, table
from features import images
from step import check_same, measure

from cufit.core import generator, matrix_precision
from cufit.frozen.backbone import load_backbone
from cufit.train.record import train_config
from cufit.train.optimizer import make_optimizer
from cufit.train.loop import train_epoch
from cufit.methods.adapters import ADAPTERS, AdapterTuning, Rein
from cufit.methods.curriculum import Cufit

COLUMNS = dict(what="what changes", variant="step", images="images", learned="tokens of the adapter", backbone="backbone", img_size="px", tokens="tokens", rejected="rejected", batch_size="batch", gflop="GFLOP per image, by formula", per_image="ms per image", gflops="GFLOP/s", speedup="times as fast as the published loop", machine="machine", date="date")
TINY = "deit_tiny_patch16_224"
METHODS = dict(exact=lambda vit: Cufit(vit, range(8)), cached=lambda vit: Cufit(vit, range(8), views=4), rein=lambda vit: AdapterTuning(vit, range(8)))
CASES = [("resolution", TINY, s, 0.4, 10, "exact") for s in (96, 160, 224, 288)] + [("rejection", TINY, 160, r, 10, "exact") for r in (0., 0.2, 0.4, 0.6, 0.8)] + \
        [("batch", TINY, 160, 0.4, b, "exact") for b in (5, 10, 20, 40)] + [("backbone", b, 160, 0.4, 10, "exact") for b in (TINY, "deit_small_patch16_224", "deit_base_patch16_224")] + \
        [("method", TINY, 160, 0.4, 10, m) for m in METHODS]


def epochs(args):
    "Epochs of CUFIT by images, and of one adapter by its tokens: rows of results."
    pocket, tiny = load_backbone(device=args.device), load_backbone(TINY, "random", 160, device=args.device)
    for t in (10, 100, 400): ADAPTERS[f"rein{t}"] = partial(Rein, n_tokens=t)
    cases = [("images", "exact", pocket, n, 100, Cufit(pocket, range(8))) for n in (200, 800, 3200)] + [("adapter", "rein", tiny, 40, t, AdapterTuning(tiny, range(8), adapter=f"rein{t}")) for t in (10, 100, 400)]
    for what, variant, vit, n, learned, method in cases:
        data, config, shares = images(n, round(vit.img_size*8/7)), train_config(epochs=1, batch_size=min(n, 20)), []
        def epoch(): shares.append(train_epoch(method, data, config, 0, make_optimizer(method, config))[1][-1].mean())
        seconds = statistics.median(in_turns({what: epoch}, args.repeats, vit.device)[what])
        gflop = method.gflop(float(statistics.mean(shares)))
        yield dict(what=what, variant=variant, images=n, learned=learned, backbone=vit.name, img_size=vit.img_size, tokens=vit.tokens, rejected=f"{1-statistics.mean(shares):.0%}", batch_size=config.batch_size,
                   gflop=f"{gflop:.2f}", per_image=f"{1000*seconds/n:.1f}", gflops=f"{gflop*n/seconds:.0f}", repeats=args.repeats, **facts(vit.device))


def main():
    args = parser(__doc__, repeats=3).parse_args()
    if args.table: return table("scale", COLUMNS, by=("what",))
    if args.threads: torch.set_num_threads(args.threads)
    for what, backbone, size, rejected, batch, variant in CASES:
        vit = load_backbone(backbone, "random", size, device=args.device)
        x = torch.randn(batch, 3, size, size, generator=generator(0, "images")).to(vit.device)
        with matrix_precision("float32"): check_same(vit, x, torch.randint(8, (batch,), generator=generator(0, "labels")).to(vit.device))
        row = next(r for r in measure(vit, x, rejected, SimpleNamespace(backbone=backbone, batch_size=batch, repeats=args.repeats), only=("naive", variant)) if r["variant"] == variant)
        kept = 1-round(rejected*batch)/batch
        gflop, seconds = METHODS[variant](vit).gflop(kept), float(row["ms"])/1000
        found = dict(what=what, variant=variant, backbone=backbone, img_size=size, tokens=vit.tokens, rejected=f"{rejected:.0%}", batch_size=batch, gflop=f"{gflop:.1f}", per_image=f"{1000*seconds/batch:.0f}", gflops=f"{gflop*batch/seconds:.0f}", speedup=row["speedup"], repeats=args.repeats, **facts(vit.device))
        print(f"{what}: {variant}, {backbone} {size} px, {rejected:.0%} rejected, batch {batch}: {found['per_image']} ms per image, {found['gflops']} GFLOP/s, {row['speedup']}x", flush=True)
        record("scale", [found], ("what", "variant", "backbone", "img_size", "rejected", "batch_size", "machine"))
    for found in epochs(args):
        print(f"{found['what']}: {found['variant']}, {found['images']} images, {found['learned']} tokens: {found['per_image']} ms per image, {found['gflops']} GFLOP/s", flush=True)
        record("scale", [found], ("what", "variant", "backbone", "images", "learned", "machine"))
    print(machine(vit.device))


if __name__ == "__main__": main()
