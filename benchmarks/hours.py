"""What the recorded runs of accuracy took, by what they are for, by their own clocks: prints a table; measures nothing.

    python benchmarks/hours.py"""
import sys

import pandas as pd
from common import RESULTS

# what the runs are for -> (table, how the names of the series begin)
WHAT = {"late adapters against the exact step, kept views, choice of the setting": ("noisy_labels", ("pbc_grid", "pbc_late10", "pbc_late11", "pbc_late9_")),
        "rare classes, all training images of HAM10000": ("noisy_labels", ("ham_late11",)),
        "the tables on real images, 1,600 each": ("noisy_labels", ("pbc_late9", "ham_late9", "ham_exact")),
        "the first runs, adapters in all blocks": ("noisy_labels", ("pbc", "ham")),
        "drawn cells": ("pocket", None), "drawn cells, the better pocket ViT": ("pocket_2", None), "a long tail of drawn cells": ("rare", None), "the same, the better pocket ViT": ("rare_2", None),
        "pretraining of the better pocket ViT": ("pretrain", None)}


def rows():
    "(what for, runs, hours), each run once."
    counted = set()
    for what, (name, begins) in WHAT.items():
        path = RESULTS/f"{name}.csv"
        if not path.is_file(): continue
        runs = pd.read_csv(path)
        if name == "pretrain": yield what, 1, runs.seconds.max()/3600; continue
        if begins:
            runs = runs[runs.name.str.startswith(begins) & ~runs.index.isin(counted)]
            counted |= set(runs.index)
        yield what, len(runs), runs.minutes.sum()/60 if "minutes" in runs else runs.seconds.sum()/3600


if __name__ == "__main__":
    if sys.argv[1:] not in ([], ["--table"]): raise SystemExit(__doc__)
    print("| what for | runs | hours of one core |\n| --- | --- | --- |")
    found = list(rows())
    for what, n, hours in found: print(f"| {what} | {n} | {hours:.1f} |")
    print(f"| all | {sum(n for _, n, _ in found)} | {sum(h for *_, h in found):.1f} |")
