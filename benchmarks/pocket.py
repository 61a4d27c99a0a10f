"""The pocket scale: what the embedded cells and the pocket ViT can show, over several seeds.

Writes one row per run to `results/pocket.csv` (`--name` chooses another file): linear probe, one Rein adapter and CUFIT,
plain or with options of its own, at several rates of symmetric noise. Each seed draws cells, noise and weights of its own.

    python benchmarks/pocket.py --rates 0.4                                      the setting of the lessons, with curves
    python benchmarks/pocket.py --rates 0 0.2 0.6 --ends                         other rates
    python benchmarks/pocket.py --methods oracle                                 one adapter on the right labels only
    python benchmarks/pocket.py --no-flip --methods rein --rates 0.4 --name pocket_no_flip   one adapter without flips
    python benchmarks/pocket.py --methods cufit --rates 0.4 --views 8 --name pocket_views     an LPM that learns from cached views
"""
import argparse
import time
from datetime import date
from itertools import product

import pandas as pd
import torch
from common import RESULTS, machine, options_of, record
from oracle import METHODS, Oracle

from cufit.run.results import method_label, own_options, run_name
from cufit.metrics import accuracy, balanced_accuracy, chosen_epochs, label_precision, label_recall
from cufit.run.report import curve_table
from cufit.run.lesson import lesson_setup
from cufit.run.settings import method_options


def one(name, method, seed, noise, settings, ends=False):
    "Train one method. Test accuracy of every epoch comes from watching, which costs a third of the time; with `ends` only the chosen and the last epoch are scored."
    options = options_of(method, settings.get("options", ()))
    lesson = lesson_setup("pocket", seed, noise=noise, **settings | dict(method=method, options=options))
    Oracle.flipped = lesson.record.flipped
    started = time.perf_counter()
    m = lesson.method(method, **method_options(lesson.config))
    watch = {} if ends else dict(test=lesson.test) | ({"train": lesson.train} if method == "rein" else {})   # what memorises is looked at twice
    history = m.fit(lesson.train, lesson.val, lesson.training, watch=watch)
    best, rows, clean = history.best_epoch, history.trained[history.best_epoch][-1], ~lesson.record.flipped
    found = at_the_ends(m, lesson) if ends else along(curve_table(history, lesson.record, lesson.test.labels), best, RESULTS/"curves"/f"{run_name(name, method, options, noise, seed)}.csv", history.seen)
    return dict(method=method, options=" ".join(own_options(options)), seed=seed, noise=noise, n_train=len(lesson.train), epochs=lesson.training.epochs, lr=lesson.training.lr, flip=lesson.training.flip, trained_parameters=m.n_trainable,
                **found, best_epoch=best, label_precision=label_precision(rows, clean), label_recall=label_recall(rows, clean),
                seconds=round(time.perf_counter()-started, 1), machine=machine(), torch=torch.__version__, date=date.today().isoformat())


def at_the_ends(m, lesson):
    "Scores on test of the chosen epoch, at which the method stands, and of the last."
    def score(measure, *args): return measure(m.predict(lesson.test), lesson.test.labels, *args)
    k = len(lesson.test.classes)
    found = dict(accuracy=score(accuracy), balanced_accuracy=score(balanced_accuracy, k))
    m.modules.load_state_dict(m.last)
    return found | dict(last_balanced_accuracy=score(balanced_accuracy, k))


def along(curve, best, path, seen):
    "Scores from the curve over all epochs, which is kept, and the epoch that each chooser would have taken."
    curve.round(4).to_csv(path, index=False)
    top, given = curve.test_balanced.argmax(), curve.given if "given" in curve else None
    return dict(accuracy=curve.test[best], balanced_accuracy=curve.test_balanced[best], last_balanced_accuracy=curve.test_balanced.iloc[-1], top_balanced_accuracy=curve.test_balanced.max(), top_epoch=int(top),
                given_at_top=None if given is None else given[top], given_last=None if given is None else given.iloc[-1]) | {f"epoch_{n}": e for n, e in chosen_epochs(seen).items() if n != "last10"}


def table(path):
    "The results as Markdown: mean and range over the seeds, in per cent."
    if not path.is_file(): return print("No figure has been recorded yet.")
    rows = pd.read_csv(path)
    rows["label"] = [method_label(m, o) for m, o in zip(rows.method, rows["options"].fillna("") if "options" in rows else [""]*len(rows))]
    columns = dict(last_balanced_accuracy="balanced accuracy", top_balanced_accuracy="best epoch", given_at_top="given labels, best epoch", given_last="given labels, last epoch", label_precision="label precision", label_recall="label recall")
    columns = {c: n for c, n in columns.items() if c in rows and rows[c].notna().any()}
    def cell(v): return "-" if v.isna().any() else f"{100*v.mean():.1f} ({100*v.min():.1f} to {100*v.max():.1f})"
    print(f"{len(rows)} runs with seeds {', '.join(map(str, sorted(rows.seed.unique())))}, in the median {rows.seconds.median():.0f} s each; {', '.join(rows.machine.unique())}, {' to '.join(dict.fromkeys((rows.date.min(), rows.date.max())))}.\n")
    print(f"| method | noise | seeds | {' | '.join(columns.values())} |\n|{' --- |'*(len(columns)+3)}")
    for (noise, method, label), g in sorted(rows.groupby(["noise", "method", "label"]), key=lambda kv: (kv[0][0], METHODS.index(kv[0][1]), kv[0][2])):
        print(f"| {label} | {100*noise:.0f} % | {len(g)} | {' | '.join(cell(g[c]) for c in columns)} |")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2]); p.add_argument("--threads", type=int)
    p.add_argument("--epochs", type=int); p.add_argument("--lr", type=float); p.add_argument("--cells", type=int, help="training cells"); p.add_argument("--no-flip", action="store_true", help="without the published flips")
    p.add_argument("--rates", nargs="+", type=float, default=[.4], help="of symmetric noise")
    p.add_argument("--ends", action="store_true", help="score the chosen and the last epoch alone, no curves")
    p.add_argument("--methods", nargs="+", default=["linear", "rein", "cufit"]); p.add_argument("--name", default="pocket", help="of the file of results"); p.add_argument("--views", type=int, default=0)
    p.add_argument("--option", nargs="+", default=[], help="of the methods that have it, such as begins=2 tokens=2"); p.add_argument("--weights", help="another pocket ViT"); p.add_argument("--choose", help="chooser of the epoch")
    p.add_argument("--table", action="store_true", help="print the table and stop")
    args = p.parse_args()
    if args.table: return table(RESULTS/f"{args.name}.csv")
    if args.threads: torch.set_num_threads(args.threads)
    settings = {k: v for k, v in dict(options=tuple(args.option) or None, weights=args.weights, choose=args.choose, epochs=args.epochs, lr=args.lr, limit=args.cells, flip=False if args.no_flip else None, views=args.views or None).items() if v is not None}
    (RESULTS/"curves").mkdir(parents=True, exist_ok=True)
    for seed in args.seeds:
        for noise, method in product(args.rates, args.methods):
            row = {k: round(v, 4) if isinstance(v, float) else "" if v is None else v for k, v in one(args.name, method, seed, noise, settings, args.ends).items()}
            record(args.name, [row], ("method", "options", "seed", "noise"))
    table(RESULTS/f"{args.name}.csv")


if __name__ == "__main__": main()
