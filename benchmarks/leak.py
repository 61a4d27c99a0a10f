"""How much of a score comes from other images of the same lesion or patient: folds of images against folds of groups.

    python benchmarks/leak.py --data ham10000.zip --group lesion_id --weights deit_tiny_patch16_224.safetensors --threads 1

Frozen features of all images; five folds, dealt either image by image or group by group, three times. Each image is
named by its nearest neighbour and by logistic regression, both fitted to the other folds. Labels are as given in the
data set. Writes a row a model, way of dealing and seed to `results/leak.csv`."""
import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from common import RESULTS, facts, record
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cufit.data.imageset import ImageSet
from cufit.frozen.backbone import load_backbone
from cufit.frozen.features import cached_features
from cufit.metrics import accuracy, balanced_accuracy
from cufit.sources.readers import load

MODELS = {"nearest neighbour": lambda: KNeighborsClassifier(1), "logistic regression": lambda: LogisticRegression(C=.01, max_iter=300)}
DEALS = {"images": StratifiedKFold, "groups": StratifiedGroupKFold}


def together(splits):
    "All images of the three splits as one set."
    return ImageSet(*(np.concatenate([getattr(s, k) for s in splits]) for k in ("images", "labels", "ids")), splits.train.classes, np.concatenate([s.groups for s in splits]))


def table():
    "Mean and range over the seeds, in per cent."
    rows = pd.read_csv(RESULTS/"leak.csv")
    def cell(v): return f"{100*v.mean():.1f} ({100*v.min():.1f} to {100*v.max():.1f})"
    first = rows.iloc[-1]
    print(f"{first.data}: {first.images} images of {first.groups} groups, {first.backbone}; {rows.seed.nunique()} deals of five folds; {first.machine}, {first.date}.\n")
    print("| model | folds of | accuracy, % | balanced accuracy, % |\n| --- | --- | --- | --- |")
    for (model, deal), g in rows.groupby(["model", "folds_of"], sort=False): print(f"| {model} | {deal} | {cell(g.accuracy)} | {cell(g.balanced_accuracy)} |")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data"); p.add_argument("--group", help="column that names patients or lesions"); p.add_argument("--weights"); p.add_argument("--backbone", default="deit_tiny_patch16_224"); p.add_argument("--img-size", type=int, default=224)
    p.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2]); p.add_argument("--cache", help="folder of kept passes"); p.add_argument("--threads", type=int); p.add_argument("--table", action="store_true", help="print the table and stop")
    args = p.parse_args()
    if args.table: return table()
    if not (args.data and args.group): p.error("--data and --group are needed: which images, and what belongs together")
    if args.threads: torch.set_num_threads(args.threads)
    vit = load_backbone(args.backbone, args.weights, args.img_size)
    data = together(load(args.data, size=args.img_size, group=args.group))
    features = cached_features(vit, data, args.cache).numpy()
    for seed in args.seeds:
        for model, made in MODELS.items():
            for deal, folds in DEALS.items():
                said = cross_val_predict(make_pipeline(StandardScaler(), made()), features, data.labels, groups=data.groups if deal == "groups" else None, cv=folds(5, shuffle=True, random_state=seed))
                record("leak", [dict(data=Path(args.data).name, backbone=args.backbone, images=len(data), groups=len(set(data.groups)), model=model, folds_of=deal, seed=seed, accuracy=round(accuracy(said, data.labels), 4), balanced_accuracy=round(balanced_accuracy(said, data.labels, len(data.classes)), 4), **facts())], ("data", "model", "folds_of", "seed"))
    table()


if __name__ == "__main__": main()
