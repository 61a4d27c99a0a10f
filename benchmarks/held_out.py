"""Is it circular that a module judges labels on which it was trained? Agreement with labels seen and held out.

CUFIT is trained on all drawn cells of a lesson, and once more for each fifth that is left out; the same for one adapter.
The module of the last epoch says which labels it agrees with: those of the images on which the method was trained, and
those of the fifth that its method never saw. Writes a row a module and seed to `results/held_out.csv`.

    python benchmarks/held_out.py --threads 1 --seeds 0 1 2"""
import argparse
import time

import numpy as np
import pandas as pd
import torch
from common import RESULTS, facts, record

from cufit.metrics import accuracy, balanced_accuracy, label_precision, label_recall
from cufit.run.lesson import lesson_setup

NAMES = {"cufit": ("lpm", "iam", "lam"), "rein": ("rein",)}


def trained(lesson, name, rows):
    "A method trained on some of the lesson's images."
    method = lesson.method(name)
    method.fit(lesson.train.subset(rows), lesson.val, lesson.training)
    return method


def says(method, data, names): return {n: method.decode(out).numpy() for n, out in method.evaluate(data, list(names)).items()}


def one(seed, name, settings, folds):
    "A row for each module."
    lesson, names, started = lesson_setup("pocket", seed, **settings), NAMES[name], time.perf_counter()
    data, given, wrong = lesson.train, lesson.train.labels, lesson.record.flipped
    everything, k = np.arange(len(data)), len(data.classes)
    whole = trained(lesson, name, everything)
    seen, test = says(whole, data, names), says(whole, lesson.test, names)
    held = {n: np.full(len(data), -1) for n in names}
    for fold in range(folds):
        left = everything % folds == fold
        for n, p in says(trained(lesson, name, everything[~left]), data.subset(everything[left]), names).items(): held[n][left] = p
    for n in names:
        found = {}
        for what, p in (("seen", seen[n]), ("held_out", held[n])):
            agrees = p == given
            found |= {f"{what}_precision": label_precision(agrees, ~wrong), f"{what}_recall": label_recall(agrees, ~wrong), f"{what}_wrong": agrees[wrong].mean(), f"{what}_clean": accuracy(p, lesson.record.clean)}
        yield dict(method=name, module=n, seed=seed, n_train=len(data), epochs=lesson.training.epochs, backbone=lesson.vit.name, noise=lesson.config.noise, noise_realised=wrong.mean(),
                   **found, test_balanced=balanced_accuracy(test[n], lesson.test.labels, k), minutes=(time.perf_counter()-started)/60)


def table(path):
    "In per cent: mean and range over the seeds."
    if not path.is_file(): return print("No figure has been recorded yet.")
    rows = pd.read_csv(path)
    def cell(v): return f"{100*v.mean():.1f} ({100*v.min():.1f} to {100*v.max():.1f})"
    columns = {f"{w}_{c}": f"{t}, {'labels seen' if w == 'seen' else 'held out'}" for c, t in dict(precision="precision", recall="recall", wrong="wrong labels agreed with").items() for w in ("seen", "held_out")}
    print(f"| method | module | seeds | {' | '.join(columns.values())} |\n|{' --- |'*(len(columns)+3)}")
    for (method, module), g in rows.groupby(["method", "module"], sort=False): print(f"| {method} | {module} | {len(g)} | {' | '.join(cell(g[c]) for c in columns)} |")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--seeds", nargs="+", type=int, default=[0]); p.add_argument("--threads", type=int); p.add_argument("--epochs", type=int); p.add_argument("--folds", type=int, default=5)
    p.add_argument("--methods", nargs="+", default=list(NAMES)); p.add_argument("--table", action="store_true", help="print the table and stop")
    args = p.parse_args()
    if args.table: return table(RESULTS/"held_out.csv")
    if args.threads: torch.set_num_threads(args.threads)
    for seed in args.seeds:
        for name in args.methods:
            rows = [{k: round(v, 4) if isinstance(v, float) else v for k, v in r.items()} | facts() for r in one(seed, name, {} if args.epochs is None else dict(epochs=args.epochs), args.folds)]
            record("held_out", rows, ("method", "module", "seed"))
    table(RESULTS/"held_out.csv")


if __name__ == "__main__": main()
