"""Rare classes on drawn cells: 190 neutrophils, 14 of each other kind, 40 % of the labels wrong.

CUFIT as published and with `balanced=True`, beside the linear probe and one adapter, each as it is and with balanced
softmax (`prior=given`). Every method takes the last epoch, as everywhere else, or with `--choose validation` the one with
the best balanced accuracy on noisy validation. Each seed draws cells, noise and weights of its own; the test cells are
balanced. Writes a row a run to `results/rare.csv`.

    python benchmarks/rare.py --threads 1"""
import argparse
import shlex
import sys
import time

import numpy as np
import pandas as pd
import torch
from common import RESULTS, facts, record

from cufit.data.noise import corrupt
from cufit.data.sampling import first_of_each
from cufit.drawn.cells import CELL_CLASSES, cells
from cufit.frozen.backbone import load_backbone
from cufit.train.contract import all_methods
from cufit.train.record import train_config
from cufit.metrics import accuracy, per_class_recall

METHODS = {"linear": ("linear", {}), "linear, balanced softmax": ("linear", dict(prior="given")), "rein": ("rein", {}), "rein, balanced softmax": ("rein", dict(prior="given")),
           "cufit": ("cufit", {}), "cufit, balanced": ("cufit", dict(balanced=True))}


def sets(seed):
    "Training and validation with a large class and wrong labels, test without either."
    drawn = cells(n_train=1600, n_val=400, n_test=1000, seed=seed)
    def mostly(data, many, few, draw): return corrupt(data.subset(first_of_each(data.labels, [many if c == "neutrophil" else few for c in data.classes])), "symmetric", .4, draw)
    (train, truth), (val, _) = mostly(drawn.train, 190, 14, 2*seed), mostly(drawn.val, 45, 4, 2*seed+1)
    return train, val, drawn.test, truth


def one(args, name, seed, vit, train, val, test, truth):
    kind, options = METHODS[name]
    started, method = time.perf_counter(), all_methods()[kind](vit, train.classes, seed, **options)
    history = method.fit(train, val, train_config(epochs=args.epochs, lr=args.lr, seed=seed, choose=args.choose, choose_by="balanced_accuracy"))
    said, k = method.predict(test), len(test.classes)
    handed, right = history.trained[history.best_epoch][-1], ~truth.flipped
    recall = per_class_recall(said, test.labels, k)
    return dict(method=name, seed=seed, choose=args.choose, epochs=args.epochs, lr=args.lr, n_train=len(train), accuracy=round(accuracy(said, test.labels), 4), balanced_accuracy=round(recall.mean(), 4),
                recall=" ".join(f"{v:.3f}" for v in recall), handed_on=" ".join(map(str, np.bincount(train.labels[handed], minlength=k))), label_precision=round(right[handed].mean(), 4), best_epoch=history.best_epoch,
                seconds=round(time.perf_counter()-started, 1), **facts(), command=shlex.join(["python", *sys.argv]))


def table(name):
    "Mean and range over the seeds, in per cent."
    rows = pd.read_csv(RESULTS/f"{name}.csv")
    def cell(v): return f"{100*v.mean():.1f} ({100*v.min():.1f} to {100*v.max():.1f})"
    large = CELL_CLASSES.index("neutrophil")
    for (choose, epochs), part in rows.groupby(["choose", "epochs"], sort=False):
        first = part.iloc[-1]; taken = "the last one is taken" if choose == "last" else "the best one on noisy validation is taken"
        print(f"{epochs} epochs, {taken}; {first.n_train} drawn cells, learning rate {first.lr}; {len(part)} runs, in the median {part.seconds.median():.0f} s each; {first.machine}, {first.date}.\n\n```\n{first.command}\n```\n")
        print("| method | seeds | balanced accuracy, % | accuracy, % | mean recall of the rare classes, % | of the large one, % | classes never found, mean |\n| --- | --- | --- | --- | --- | --- | --- |")
        for name, g in part.groupby("method", sort=False):
            recall = np.array([[float(v) for v in r.split()] for r in g.recall])
            print(f"| {name} | {len(g)} | {cell(g.balanced_accuracy)} | {100*g.accuracy.mean():.1f} | {100*np.delete(recall, large, 1).mean():.1f} | {100*recall[:, large].mean():.1f} | {(recall == 0).sum(1).mean():.1f} |")
        print()


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2]); p.add_argument("--methods", nargs="+", default=list(METHODS)); p.add_argument("--threads", type=int, help="threads of PyTorch; all cores unless given")
    p.add_argument("--epochs", type=int, default=12); p.add_argument("--lr", type=float, default=3e-3); p.add_argument("--choose", default="last", choices=("last", "validation"), help="which epoch is taken"); p.add_argument("--weights", help="another pocket ViT"); p.add_argument("--name", default="rare", help="of the file of results")
    p.add_argument("--table", action="store_true", help="print the table and stop")
    args = p.parse_args()
    if args.table: return table(args.name)
    if args.threads: torch.set_num_threads(args.threads)
    vit = load_backbone("pocket_vit", args.weights)
    for seed in args.seeds:
        found = sets(seed)
        for name in args.methods: record(args.name, [one(args, name, seed, vit, *found)], ("method", "seed", "choose", "epochs"))
    table(args.name)


if __name__ == "__main__": main()
