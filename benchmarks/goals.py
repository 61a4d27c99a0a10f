"""What was wanted and what was measured, read from `results/`: prints a table; measures nothing.

    python benchmarks/goals.py
    python benchmarks/goals.py --pocket      on drawn cells"""
import csv
import sys

import pandas as pd
from common import RESULTS

GPU = "none: no GPU was there"
BACKBONES = dict(deit_tiny_patch16_224="DeiT-Tiny", vit_small_patch14_dinov2="ViT-S/14")


def rows(name, **wanted):
    "Rows of `results/<name>.csv` with these values in their columns."
    path = RESULTS/f"{name}.csv"
    return [r for r in csv.DictReader(path.open()) if all(r[k] == v for k, v in wanted.items())] if path.is_file() else []


def one(name, **wanted):
    "The row with these values that was written last; by the clock where it was measured both ways."
    found = rows(name, **wanted)
    found = [r for r in found if "processor time" not in r["machine"]] or found
    if not found: raise SystemExit(f"results/{name}.csv has no row with {wanted}. Run benchmarks/{name}.py.")
    return found[-1]


def figure(name, column, **wanted): return float(one(name, **wanted)[column])

def on_backbones(text, name, column, **wanted): return ", ".join(text.format(figure(name, column, backbone=b, **wanted)) + f" ({n})" for b, n in BACKBONES.items())


def on_gpu(text, name, column, **wanted):
    found = [r for r in rows(name, **wanted) if "thread" not in r["machine"]]
    return ", ".join(text.format(float(r[column])) + f" ({r['machine']})" for r in found) or GPU


def pocket():
    "What the drawn cells were to show with the better pocket ViT, and what they show; in points of balanced accuracy in the last epoch."
    runs = pd.read_csv(RESULTS/"pocket_2.csv").fillna(dict(options=""))
    runs["method"] += [f", {o}" if o else "" for o in runs["options"]]
    score = lambda rate, column="last_balanced_accuracy": 100*runs[runs.noise == rate].pivot(index="seed", columns="method", values=column)
    def over(rate, other, how):
        table = score(rate)
        for name in [n for n in ("cufit", "cufit, lpm=solved") if n in table]:
            gap = (table[name]-table[other]).dropna()
            yield f"{gap.mean():+.1f}, in {(gap > 0).sum()} of {len(gap)} seeds ({how[name]})"
    named = {"cufit": "as published", "cufit, lpm=solved": "solved LPM"}
    yield "40 % noise: CUFIT", "linear probe", "at least 5 points above, in every seed", "; ".join(over(.4, "linear", named))
    yield "40 % noise: CUFIT", "one adapter", "at least 8 points above, in every seed", "; ".join(over(.4, "rein", named))
    fall, given = score(.4, "top_balanced_accuracy")["rein"]-score(.4)["rein"], score(.4, "given_last")["rein"]-score(.4, "given_at_top")["rein"]
    yield "40 % noise: one adapter", "its best epoch", "falls at least 8 points, while it learns given labels", f"{fall.mean():.1f}, given labels {given.mean():+.1f}"
    done = set(runs.noise)
    clean = score(0).mean() if 0 in done else None
    if clean is not None: yield "no noise: one adapter", "linear probe", "at least 6 points above", f"{clean['rein']-clean['linear']:+.1f}"
    if clean is not None: yield "no noise: CUFIT", "the best method", "at most 1.5 points below", "; ".join(f"{clean.max()-clean[n]:.1f} ({named[n]})" for n in named)
    for rate in sorted({.2, .6} & done): yield f"{100*rate:.0f} % noise: CUFIT", "linear probe; one adapter", "above both", "; ".join(f"{a.split(',')[0]} and {b}" for a, b in zip(over(rate, "linear", named), over(rate, "rein", named)))


def late():
    "A whole run of late adapters from image files on, against the published loop."
    for begins, least in ((6, 2.8), (9, 5.)):
        found = rows("late", begins=str(begins))
        measured = f"{float(found[-1]['speedup']):.1f}; foretold {float(found[-1]['foretold']):.0f} minutes without reading, took {float(found[-1]['run']):.0f}" if found else "not yet"
        yield f"a whole run with adapters from block {begins} on kept tokens, 30 epochs", "published loop", f"at least {least:g} times as fast, foretold within 30 %", measured


def goals():
    "(what, yardstick, wanted, measured), one by one."
    step = dict(precision="float32", compile="no")
    for variant, wanted in (("exact", (("40%", 1.45), ("60%", 1.7))), ("cached", (("40%", 1.8), ("60%", 2.3))), ("late 6", (("40%", 3.5), ("60%", 4.4))), ("late 9", (("40%", 7.5), ("60%", 9.5)))):
        for rejected, least in wanted: yield f"{variant} step, {rejected} rejected", "published loop", f"at least {least} times as fast", on_backbones("{:.2f}", "step", "speedup", variant=variant, rejected=rejected, **step)
    for variant, most in (("exact", 1.65), ("cached", 1.35)): yield f"{variant} step, 40% rejected", "one published Rein step", f"at most {most} times its time", on_backbones("{:.2f}", "step", "over_rein", variant=variant, rejected="40%", **step)
    yield from late()
    yield "memory of the exact step beyond the weights, 40% rejected", "published loop", "at most 0.4", on_backbones("{:.2f}", "memory", "of_naive", variant="exact", rejected="40%")
    yield "a whole run on one GPU, bfloat16", "published loop, float32, DataLoader with 8 workers", "at least 6 times as fast", on_gpu("{:.1f}", "whole_run", "speedup", precision="bfloat16", workers="8")
    fast = [r for r in rows("features", what="extraction") if "thread" not in r["machine"] and r["setting"].startswith("vit_small_patch14_dinov2") and "bfloat16" in r["setting"]]
    yield "extraction on one GPU, bfloat16, ViT-S/14", "the GPU's measured matrix rate", "at least 20 %", ", ".join(f"{r['note']} ({r['machine']})" for r in fast) or GPU
    yield "inference with the LAM", "timm's forward", "at most 1.10 times its time", f'{figure("features", "over", what="inference with the LAM"):.2f} (DeiT-Tiny)'
    yield "`import cufit`", "`import torch, timm`", "at most 1.2 times its time", f'{figure("start", "over", what="import cufit"):.2f}'
    yield "`cufit --help`", "-", "under 1 s", f'{figure("start", "seconds", what="cufit --help"):.2f} s'
    for batch, least in ((512, "under 3 s, within half a point"), (32, "stands beside it")):
        what = f"linear probe, 100 epochs, batch {batch}"
        found = one("features", what=what)
        yield what, "LogisticRegression", least, f"{float(found['seconds']):.2f} s, {found['note']}"


if __name__ == "__main__":
    print("| what | yardstick | wanted | measured |\n| --- | --- | --- | --- |")
    for g in (pocket if "--pocket" in sys.argv else goals)(): print(f"| {' | '.join(g)} |")
