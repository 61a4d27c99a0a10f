"""A grid of methods, noises and seeds, from a file in `grids/` to a table in `results/`.

Trains what is not in `--out` yet, and adds a row for each new run to `results/grid_NAME.csv`. Stop it at any time: it goes on.

    python benchmarks/grid.py pocket_tuning --jobs 2      four settings of each method, judged on noisy validation
    python benchmarks/grid.py pocket_tuning --dry-run     the list, with minutes
    python benchmarks/grid.py pocket_tuning --only method=rein,cufit lr=0.01      a part of it"""
import argparse
from pathlib import Path

import pandas as pd
import torch
from common import RESULTS, facts, record

from cufit.run.compare import compare
from cufit.run.grid import grid_runs, read_grid
from cufit.run.results import cell_means, recorded_runs
from cufit.train.record import TrainConfig

GRIDS = Path(__file__).parent/"grids"


def part_of(grid, only):
    "The grid with single values for some of its factors, texts such as noise=0.4."
    for text in only:
        key, _, value = text.partition("=")
        owners = [t for t in (grid, *(v for v in grid.values() if isinstance(v, dict))) if key in t]
        if not owners: raise SystemExit(f"{key} is no factor of this grid")
        for t in owners:
            values = t[key] if isinstance(t[key], list) else [t[key]]
            t[key] = [v for v in values if str(v) in value.split(",")]
            if not t[key]: raise SystemExit(f"{key} has the values {values} in this grid")
    return {k: v for k, v in grid.items() if not isinstance(v, dict) or k in grid["method"]}


def path_of(name):
    "Where the table of a grid is. A tuning has settings that were tried, not methods that are compared: a folder apart keeps it from `recorded_runs`."
    return RESULTS/("tuning" if name.endswith("_tuning") else "")/f"grid_{name}.csv"


def keep(name, table):
    "Rows of runs that are not in the table yet; a run that was recorded keeps its machine and its minutes."
    path = path_of(name)
    known = set(pd.read_csv(path).run) if path.is_file() else set()
    rows = [{k: "" if pd.isna(v) else float(f"{v:.4g}") if isinstance(v, float) else v for k, v in r.items()} | facts() for r in table.to_dict("records") if r["run"] not in known]
    if rows: record(path.relative_to(RESULTS).with_suffix(""), rows, ("run",))


def shown(name):
    "The table as Markdown: mean over the seeds in the last epoch, and at the one that validation chose."
    path = path_of(name)
    if not path.is_file(): return print("No figure has been recorded yet.")
    rows = pd.read_csv(path)
    print(f"{len(rows)} runs, in the median {rows.seconds.median():.0f} s each; {', '.join(rows.machine.unique())}, {' to '.join(dict.fromkeys((rows.date.min(), rows.date.max())))}.\n")
    if name.endswith("_tuning"): return tuned(rows)
    runs = recorded_runs(RESULTS)
    runs = runs[runs.source == str(path)]
    for setting, part in runs.groupby("setting", sort=False):
        seeds = sorted(part.seed.unique())
        print(f"**{setting.partition(': ')[2]}**, {'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}: balanced accuracy in per cent in the last epoch; in brackets, at the epoch chosen on validation where that is another one.\n")
        last, chosen = (100*cell_means(part, s, whole=False) for s in ("last_balanced_accuracy", "balanced_accuracy"))
        rates = [f"{100*c[-1]:.0f} %" for c in last.index]
        print(f"| method | {' | '.join(rates)} |\n|{' --- |'*(len(rates)+1)}")
        def cell(a, b): return "-" if pd.isna(a) else f"{a:.1f}" + (f" ({b:.1f})" if abs(a-b) > .05 else "")
        for m in last: print(f"| {m} | {' | '.join(map(cell, last[m], chosen[m]))} |")
        print()


def choices(rows):
    "Each setting that a tuning tried: method, what was set, mean accuracy on noisy validation and balanced accuracy on test, seeds; best first."
    def own(r):   # what was set, without the noise rate that a method is told
        return (("lr", r.lr),) + tuple(o.partition("=")[::2] for o in r.options.split() if not o.startswith("rate=")) + (("views", int(r.views)),)*bool(r.views)
    rows = rows.fillna(dict(options="", lr=TrainConfig.lr, views=0))
    rows["own"] = [own(r) for r in rows.itertuples()]
    found = rows.groupby(["method", "own"], sort=False).agg(validation=("validation_accuracy", "mean"), test=("last_balanced_accuracy", "mean"), seeds=("seed", "nunique")).reset_index()
    return found.sort_values("validation", ascending=False, kind="stable")


def tuned(rows):
    "The settings of each method, the one that validation liked best first, as Markdown."
    print(f"Means of the seeds {', '.join(map(str, sorted(rows.seed.unique())))}.\n")
    print("| method | settings, best first: accuracy on noisy validation (balanced accuracy on test, which chose nothing) |\n| --- | --- |")
    found = choices(rows)
    for method in rows.method.unique():
        part = found[found.method == method]
        told = lambda own: ", ".join(f"lr {v:g}" if k == "lr" else f"{k}={v}" for k, v in own)
        print(f"| {method} | {'; '.join(f'{told(r.own)}: {100*r.validation:.1f} ({100*r.test:.1f})' + f', {r.seeds} seeds'*(r.seeds < rows.seed.nunique()) for r in part.itertuples())} |")


def with_tuned(grid):
    "The grid with the best setting of each method from the table of a tuning, where the grid names one; what the grid itself says of a method goes before it."
    if not (name := grid.pop("tuned", None)): return grid
    path = path_of(name)
    rows, wanted = pd.read_csv(path) if path.is_file() else pd.DataFrame(dict(run=[])), {r.name for r in grid_runs(read_grid(GRIDS/f"{name}.toml"))}
    if missing := wanted-set(rows.run): raise SystemExit(f"{name} is not done: {len(missing)} of its {len(wanted)} runs are missing. Run it to its end first.")
    for r in choices(rows).groupby("method").head(1).itertuples():
        if r.method in grid["method"]: grid[r.method] = dict(r.own) | grid.get(r.method, {})
    return grid


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("name", help="of a file in benchmarks/grids"); p.add_argument("--out", default="runs/grids", help="folder of all run folders"); p.add_argument("--jobs", type=int, default=1)
    p.add_argument("--only", nargs="+", default=[], help="values of factors, such as method=rein,cufit lr=0.01"); p.add_argument("--dry-run", action="store_true"); p.add_argument("--threads", type=int)
    p.add_argument("--table", action="store_true", help="print the table and stop")
    args = p.parse_args()
    if args.table: return shown(args.name)
    if args.threads: torch.set_num_threads(args.threads)
    grid = part_of(with_tuned(read_grid(GRIDS/f"{args.name}.toml")), args.only)
    table = compare(grid, Path(args.out)/args.name, args.jobs, args.dry_run)
    if args.dry_run: return
    torch.set_num_threads(max(1, torch.get_num_threads()//args.jobs))   # as each run had, for the name of the machine
    keep(args.name, table)


if __name__ == "__main__": main()
