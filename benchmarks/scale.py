"""How the cost of a step grows: with resolution, backbone, share of rejected samples, batch and method, against the
published loop (a step of CUFIT, whatever the method). A run is steps: its cost is proportional to images and epochs.

    python benchmarks/scale.py"""
from types import SimpleNamespace

import torch
from common import facts, machine, parser, record, table
from step import check_same, measure

from cufit.adapters import AdapterTuning
from cufit.backbone import load_backbone
from cufit.core import generator, matrix_precision
from cufit.curriculum import Cufit

COLUMNS = dict(what="what changes", variant="step", backbone="backbone", img_size="px", tokens="tokens", rejected="rejected", batch_size="batch", gflop="GFLOP per image, by formula", per_image="ms per image", gflops="GFLOP/s", speedup="times as fast as the published loop", machine="machine", date="date")
TINY = "deit_tiny_patch16_224"
METHODS = dict(exact=lambda vit: Cufit(vit, range(8)), cached=lambda vit: Cufit(vit, range(8), views=4), rein=lambda vit: AdapterTuning(vit, range(8)))
CASES = [("resolution", TINY, s, 0.4, 10, "exact") for s in (96, 160, 224, 288)] + [("rejection", TINY, 160, r, 10, "exact") for r in (0., 0.2, 0.4, 0.6, 0.8)] + \
        [("batch", TINY, 160, 0.4, b, "exact") for b in (5, 10, 20, 40)] + [("backbone", b, 160, 0.4, 10, "exact") for b in (TINY, "deit_small_patch16_224", "deit_base_patch16_224")] + \
        [("method", TINY, 160, 0.4, 10, m) for m in METHODS]


def main():
    args = parser(__doc__, repeats=3).parse_args()
    if args.table: return table("scale", COLUMNS)
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
    print(machine(vit.device))


if __name__ == "__main__": main()
