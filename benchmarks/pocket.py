"""The pocket scale: what the embedded cells and the pocket ViT can show, over several seeds.

Writes one row per run to `results/pocket.csv`: linear probe on clean labels; linear probe, one Rein adapter and CUFIT
at 40 % symmetric noise. Each seed draws cells, noise and weights of its own.

    python benchmarks/pocket.py
"""
import argparse
import time
from datetime import date
from pathlib import Path

import pandas as pd
import torch
from noisy_labels import machine

from cufit.experiment import lesson_setup
from cufit.metrics import label_precision, label_recall
from cufit.report import curve_table

RESULTS = Path(__file__).parent/"results"


def one(method, seed, noise, settings):
    "Train one method; test accuracy of every epoch comes from watching, the choice of the epoch from validation."
    lesson = lesson_setup("pocket", seed, noise=noise, **settings)
    started = time.perf_counter()
    m = lesson.method(method)
    watch = dict(test=lesson.test) | ({"train": lesson.train} if method == "rein" else {})   # what memorises is looked at twice
    history = m.fit(lesson.train, lesson.val, lesson.training, watch=watch)
    curve = curve_table(history, lesson.record, lesson.test.labels)
    best, rows, clean = history.best_epoch, history.trained[history.best_epoch][-1], ~lesson.record.flipped
    curve.round(4).to_csv(RESULTS/"curves"/f"pocket-{method}-{noise}-{seed}.csv", index=False)
    return dict(method=method, seed=seed, noise=noise, n_train=len(lesson.train), epochs=lesson.training.epochs, lr=lesson.training.lr, trained_parameters=m.n_trainable,
                accuracy=curve.test[best], balanced_accuracy=curve.test_balanced[best], best_epoch=best,
                last_balanced_accuracy=curve.test_balanced.iloc[-1], top_balanced_accuracy=curve.test_balanced.max(), top_epoch=int(curve.test_balanced.argmax()),
                given_at_top=curve.given[curve.test_balanced.argmax()] if "given" in curve else None, given_last=curve.given.iloc[-1] if "given" in curve else None,
                label_precision=label_precision(rows, clean), label_recall=label_recall(rows, clean),
                seconds=round(time.perf_counter()-started, 1), machine=machine(), torch=torch.__version__, date=date.today().isoformat())


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2]); p.add_argument("--threads", type=int)
    p.add_argument("--epochs", type=int); p.add_argument("--lr", type=float); p.add_argument("--csv", default=str(RESULTS/"pocket.csv"))
    args = p.parse_args()
    if args.threads: torch.set_num_threads(args.threads)
    settings = {k: v for k in ("epochs", "lr") if (v := getattr(args, k)) is not None}
    (RESULTS/"curves").mkdir(parents=True, exist_ok=True)
    rows = []
    for seed in args.seeds:
        for method, noise in (("linear", 0.), ("linear", .4), ("rein", .4), ("cufit", .4)):
            rows.append(one(method, seed, noise, settings))
            pd.DataFrame(rows).round(4).to_csv(args.csv, index=False)
    shown = pd.DataFrame(rows).groupby(["method", "noise"], sort=False)[["balanced_accuracy", "last_balanced_accuracy", "top_balanced_accuracy", "label_precision", "label_recall"]].mean()
    print((100*shown).round(1).to_string())


if __name__ == "__main__": main()
