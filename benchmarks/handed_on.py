"""What runs of CUFIT handed on, read from run folders of `noisy_labels.py`.

`results/handed_on.csv` has a row for each run and class: what was handed on to the LAM in the last epoch, of the labels that
were given and of those that are right. `results/brought_back.csv` (`--back`) has a row for each run: of the labels with which
the LPM agreed in no epoch, so that the IAM was never trained on them, those that the IAM handed on in the last epoch.

    python benchmarks/handed_on.py runs/benchmark/ham_late11-cufit*
    python benchmarks/handed_on.py --back runs/benchmark/pbc_late9-cufit-0.6-0
"""
import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from common import RESULTS, record

from cufit.core import read_json
from cufit.data.noise import NoiseRecord
from cufit.run.results import method_label


def loaded(run):
    "Settings, noise, and bool [epochs, modules, images]: which module was trained on what."
    config = read_json(run/"config.json")
    who = dict(run=run.name, data=Path(config["data"]).name, method=method_label("cufit", config["options"]), noise=config["noise"], seed=config["seed"])
    return who, NoiseRecord.load(run/"noise"), np.load(run/"selection.npz")["trained"]


def brought_back(run):
    "The labels on which the IAM was never trained, and those among them that it handed on in the last epoch."
    who, noise, trained = loaded(run)
    never, right = ~trained[:, 1].any(0), ~noise.flipped
    back = never & trained[-1, 2]
    recall = lambda rows: round(float((rows & right).sum()/right.sum()), 4)
    return who | dict(never_right=(never & right).sum(), never_wrong=(never & ~right).sum(), back_right=(back & right).sum(), back_wrong=(back & ~right).sum(), recall_iam=recall(trained[-1, 1]), recall_lam=recall(trained[-1, 2]))


def counts(run):
    "A row for each class."
    who, noise, trained = loaded(run)
    kept = trained[-1, -1]   # of the LAM in the last epoch
    of = lambda rows: np.bincount(noise.given[rows], minlength=len(noise.classes))
    columns = zip(noise.classes, of(slice(None)), of(~noise.flipped), of(kept), of(kept & ~noise.flipped))
    return [who | dict(label=c, given=g, right=r, handed_on=h, right_handed_on=hr) for c, g, r, h, hr in columns]


def table():
    "Means over the seeds as Markdown."
    rows = pd.read_csv(RESULTS/"handed_on.csv")
    for (data, noise), part in rows.groupby(["data", "noise"], sort=False):
        print(f"{data}, {100*noise:.0f} % noise, mean of {part.seed.nunique()} seeds\n")
        found = part.groupby(["method", "label"], sort=False)[["given", "right", "handed_on", "right_handed_on"]].mean()
        print("| method | label | given | of these right | handed on | of these right | of the right ones handed on, % |\n| --- | --- | --- | --- | --- | --- | --- |")
        for (method, label), r in found.iterrows(): print(f"| {method} | {label} | {r.given:.0f} | {r.right:.0f} | {r.handed_on:.0f} | {r.right_handed_on:.0f} | {100*r.right_handed_on/r.right:.0f} |")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("runs", nargs="*", type=Path); p.add_argument("--back", action="store_true", help="write brought_back.csv instead"); p.add_argument("--table", action="store_true", help="print the tables and stop")
    args = p.parse_args()
    if args.table: return table()
    for run in args.runs:
        if args.back: record("brought_back", [brought_back(run)], ("run",))
        else: record("handed_on", counts(run), ("run", "label"))


if __name__ == "__main__": main()
