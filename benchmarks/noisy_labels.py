"""Linear probe, one Rein adapter and CUFIT on real images with noisy labels.

Each run is a run folder made by `cufit.run.experiment.train_run`; this script walks through methods, rates and seeds on one
reading of the data and one backbone, and appends a row a run to `results/noisy_labels.csv` and its curves to
`results/curves/`. `--table` prints the rows as the tables of `benchmarks/README.md`.

    python benchmarks/noisy_labels.py --data ../shared/data/pbc_blood_128.zip --weights ../shared/weights/deit_tiny_patch16_224_fp16.safetensors
"""
import argparse
import re
import shlex
import sys
from datetime import date
from itertools import product
from pathlib import Path

import pandas as pd
import torch
from common import RESULTS, machine, options_of, record
from oracle import METHODS, Oracle

from cufit.core import read_json
from cufit.data.noise import corrupt
from cufit.run.results import run_name
from cufit.frozen.backbone import load_backbone
from cufit.metrics import chosen_epochs, load_seen
from cufit.run.settings import same_place, load_splits, split_settings
from cufit.run.experiment import train_run


def accuracy_by_epoch(run, seconds):
    "Accuracy of the watched images by epoch, as `train_run` wrote it, and the minutes until then, of `seconds` in all; empty where nothing was watched."
    path = run/"curves.csv"
    if not path.is_file(): return pd.DataFrame()
    epochs = pd.read_csv(run/"history.csv").seconds
    return pd.read_csv(path).assign(minutes=(seconds - epochs.sum() + epochs.cumsum())/60)   # the kept passes come before the first epoch


def one(args, method, seed, noise, splits, vit):
    "One run and its row."
    settings = settings_of(args, method, seed) | dict(noise=noise)
    Oracle.flipped = corrupt(splits.train, "symmetric", noise, seed)[1].flipped
    options = [*settings["options"], *[f"sampler={args.sampler}"]*bool(args.sampler)]   # as the row names them
    run = run_name(args.name, method, options, noise, seed)
    out = Path(args.out)/run
    if (out/"metrics.json").is_file():
        then = read_json(out/"config.json")
        if differ := {k: (then.get(k), v) for k, v in settings.items() if then.get(k) != v and k != "device" and not (k in ("data", "weights") and same_place(then.get(k), v))}: raise SystemExit(f"{out} was run with other settings (then, now): {differ}. Choose another --name.")
    m = read_json(out/"metrics.json") if (out/"metrics.json").is_file() else train_run(out, splits=splits, vit=vit, resume=(out/"resume.safetensors").is_file(), **settings)
    then, curve = read_json(out/"config.json"), accuracy_by_epoch(out, m["seconds"])
    chosen = {f"epoch_{n}": e for n, e in chosen_epochs(load_seen(out/"validation.npz")).items() if n != "last10"}
    if len(curve):
        (RESULTS/"curves").mkdir(parents=True, exist_ok=True)
        curve.round(4).to_csv(RESULTS/"curves"/f"{run}.csv", index=False)
    return dict(name=args.name, data=Path(args.data).name, backbone=args.backbone, method=method, seed=seed, noise=noise, noise_seed=seed, n_train=m["n_train"], n_test=m["n_test"], epochs=args.epochs, lr=args.lr, choose=then["choose"], choose_by=then["choose_by"], precision=args.precision, options=" ".join(options), images_seed=seed if args.images_seed is None else args.images_seed,
                accuracy=round(m["accuracy"], 4), balanced_accuracy=round(m["balanced_accuracy"], 4), recall=" ".join("-" if v is None else f"{v:.3f}" for v in m["per_class_recall"]), best_epoch=m["best_epoch"], last_accuracy=round(m["last_accuracy"], 4), last_balanced_accuracy=round(m["last_balanced_accuracy"], 4),
                watched_test_best=round(curve.test.max(), 4) if len(curve) else "", watched_test_last=round(curve.test.iloc[-1], 4) if len(curve) else "",
                label_precision=rounded(m["label_precision"]), label_recall=rounded(m["label_recall"]), minutes=round(m["seconds"]/60, 1), **chosen,
                machine=machine(vit.device), torch=torch.__version__, date=date.today().isoformat(), command=shlex.join(["python", *without_places(sys.argv)]))


def without_places(argv):
    "The command without folders of this machine, which change no figure."
    return [a for a, before in zip(argv, ["", *argv]) if a not in ("--cache", "--out") and before not in ("--cache", "--out")]


def rounded(v): return "" if v is None else round(v, 4)   # nothing is known of labels to which no noise was added


def settings_of(args, method, seed):
    names = ("data", "backbone", "weights", "img_size", "resize", "limit", "epochs", "batch_size", "lr", "precision", "curves", "group", "device", "cache", "choose", "choose_by", "sampler")
    return {n: v for n in names if (v := getattr(args, n)) is not None or n not in ("choose", "choose_by", "sampler")} | dict(method=method, seed=seed, noise_seed=seed, options=list(options_of(method, args.option)))   # a list, as the run folder has it


def table():
    "The results as Markdown: a table for each data set, image size and length, with mean over seeds and the range where there are several."
    rows = pd.read_csv(RESULTS/"noisy_labels.csv").fillna(dict(options=""))
    rows["pixels"] = rows.command.str.extract(r"--img-size (\d+)", expand=False).fillna("224")
    def cell(v): return "-" if v.isna().any() else f"{100*v.mean():.1f}" + (f" ({100*v.min():.1f} to {100*v.max():.1f})" if len(v) > 1 else "")
    for (data, n, pixels, epochs), part in rows.groupby(["data", "n_train", "pixels", "epochs"], sort=False):
        print(f"\n### {data}, {n} images, {epochs} epochs\n\n{part.backbone.iloc[0]} at {pixels} px, tested on {part.n_test.iloc[0]} images; {', '.join(part.machine.unique())}, {' and '.join(dict.fromkeys((part.date.min(), part.date.max())))}.\n")
        print("| noise | method | options | epoch by | seeds | accuracy, % | balanced accuracy, % | label precision, % | label recall, % | watched test: best, last epoch, % | minutes |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
        same = ["noise", "method", "options", "precision", "choose", "choose_by"]   # a linear head hears nothing of `begins`
        part = part.assign(order=part.method.map(METHODS.index)).sort_values(["noise", "order"], kind="stable")
        for (noise, method, *_), g in part.drop_duplicates([*same, "seed"], keep="last").groupby(same, sort=False):
            first, asked = g.iloc[0], g.iloc[0].options.split()
            options = " ".join([*asked, *[first.precision]*(first.precision != "float32")]) or "-"
            by = first.choose if first.choose in ("last", "last10") else f"{first.choose}, {first.choose_by}"
            watched = f"{100*g.watched_test_best.mean():.1f}, {100*g.watched_test_last.mean():.1f}" if g.watched_test_best.notna().all() else "-"
            print(f"| {100*noise:.0f} % | {method} | {options} | {by} | {', '.join(map(str, sorted(g.seed)))} | {cell(g.accuracy)} | {cell(g.balanced_accuracy)} | {cell(g.label_precision)} | {cell(g.label_recall)} | {watched} | {g.minutes.median():.1f} |")
        print(f"\n<details><summary>The commands</summary>\n\n```\n{chr(10).join(merged(part.command))}\n```\n</details>")


def merged(commands):
    "Commands that differ in their seeds, rates or methods alone, as one."
    lists, found = re.compile(r" --(seeds|rates|methods)((?: [\w.]+)+)"), {}
    for c in commands:
        values = found.setdefault(lists.sub("", c), {})
        for name, given in lists.findall(c): values.setdefault(name, {}).update(dict.fromkeys(given.split()))
    return ["".join([c, *(f" --{name} {' '.join(sorted(v))}" for name, v in values.items())]) for c, values in found.items()]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--name", default="pbc", help="names the rows and the run folders")
    p.add_argument("--data"); p.add_argument("--weights"); p.add_argument("--group")
    p.add_argument("--backbone", default="deit_tiny_patch16_224"); p.add_argument("--img-size", type=int, default=224); p.add_argument("--resize", type=int)
    p.add_argument("--methods", nargs="+", default=["linear", "rein", "cufit"]); p.add_argument("--seeds", nargs="+", type=int, default=[0])
    p.add_argument("--rates", nargs="+", type=float, default=[.4], help="of symmetric noise"); p.add_argument("--limit", type=int, default=1600); p.add_argument("--epochs", type=int, default=12)
    p.add_argument("--batch-size", type=int, default=32); p.add_argument("--lr", type=float, default=1e-3); p.add_argument("--precision", default="float32")
    p.add_argument("--curves", type=int, default=0); p.add_argument("--device", default="auto"); p.add_argument("--out", default="runs/benchmark")
    p.add_argument("--option", nargs="+", default=[], help="of the methods that have it, such as begins=9 tokens=4"); p.add_argument("--cache", help="folder of kept passes"); p.add_argument("--images-seed", type=int, help="draws the training images, the same for all seeds, so that they share what is kept; the run's seed unless given")
    p.add_argument("--choose", help="chooser of the epoch"); p.add_argument("--choose-by", help="score that it looks at"); p.add_argument("--sampler", help="of the rows of an epoch; named among the options of the row")
    p.add_argument("--threads", type=int, help="threads of PyTorch; all cores unless given"); p.add_argument("--table", action="store_true", help="print the tables and stop")
    args = p.parse_args()
    if args.table: return table()
    if args.threads: torch.set_num_threads(args.threads)
    vit = load_backbone(args.backbone, args.weights, args.img_size, device=args.device)
    for seed in args.seeds:
        splits = load_splits(split_settings(settings_of(args, "linear", seed))[0], vit.img_size, seed if args.images_seed is None else args.images_seed)
        for noise, method in product(args.rates, args.methods): record("noisy_labels", [one(args, method, seed, noise, splits, vit)], ("name", "method", "options", "noise", "seed"))


if __name__ == "__main__": main()
