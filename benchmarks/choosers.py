"""Which epoch? What each chooser would have got in the recorded runs, judged by leaving one data set out.

Reads the runs of `results/pocket.csv`, `results/pocket_2.csv` and `results/noisy_labels.csv` that say which epoch each chooser would have taken
and whose test accuracy is known in every epoch. A chooser's loss is the best balanced accuracy of any epoch, which
nobody can know, minus that of the epoch it took, in points. It is averaged over the seeds, then the rates, then the
methods of a data set, so that none counts more because it was run more often. `last10` is the mean of the last ten
epochs. Trains nothing.

    python benchmarks/choosers.py"""
import sys

import pandas as pd
from common import RESULTS

from cufit.run.results import run_name
from cufit.metrics import CHOOSERS


def losses():
    "A row a run: where, and the loss of each chooser in points."
    rows = []
    for table in ("pocket", "pocket_2", "noisy_labels"):
        runs = pd.read_csv(RESULTS/f"{table}.csv").fillna(dict(options=""))
        for r in runs[runs.get("epoch_last", pd.Series(index=runs.index)).notna()].to_dict("records"):
            path = RESULTS/"curves"/f"{run_name(r.get('name', table), r['method'], r.get('options', ''), r['noise'], r['seed'])}.csv"
            if not path.is_file(): continue
            test = 100*pd.read_csv(path).test_balanced
            found = {c: test[int(r[f"epoch_{c}"])] for c in CHOOSERS if c != "last10"} | dict(last10=test[-10:].mean())
            rows.append(dict(data=r.get("data", "drawn cells"), name=r.get("name", table), method=r["method"] + r.get("options", ""), kind=r["method"], noise=r["noise"], seed=r["seed"]) | {c: test.max()-v for c, v in found.items()})
    return pd.DataFrame(rows)


def by_data(found):
    "Mean losses: choosers in rows, data sets in columns."
    means = found.groupby(["data", "name", "method", "noise"], sort=False)[list(CHOOSERS)].mean()
    for level in (["data", "name", "method"], ["data", "name"], ["data"]): means = means.groupby(level, sort=False).mean()
    return means.T


def left_out(means):
    "(data set, the chooser that is best on all others, its loss here)"
    causal = means.drop("last10")   # a mean of epochs, not one of them
    for data in means:
        best = causal.drop(columns=data).mean(axis=1).idxmin()
        yield data, best, causal.loc[best, data]


def by_method(found):
    "Mean losses of the last epoch and of validation: methods in rows, all noise rates and the highest."
    for method, part in found.groupby("kind"):
        yield method, len(part), [f"{rows[c].mean():.1f}" if len(rows) else "-" for rows in (part[part.noise > 0], part[part.noise == .6]) for c in ("last", "validation")]


def main():
    found = losses()
    if found.empty: raise SystemExit("No run says which epoch each chooser would have taken.")
    means = by_data(found)
    counts = found.groupby("data").size()
    print(f"| chooser | {' | '.join(f'{d}, {counts[d]} runs' for d in means)} | mean |\n|{' --- |'*(len(means.columns)+2)}")
    for c, row in means.assign(mean=means.mean(axis=1)).sort_values("mean").iterrows(): print(f"| `{c}` | {' | '.join(f'{v:.1f}' for v in row)} |")
    if len(means.columns) < 2: return
    print("\n| left out | best on the others | its loss there | loss of `validation` |\n| --- | --- | --- | --- |")
    for data, best, loss in left_out(means): print(f"| {data} | `{best}` | {loss:.1f} | {means.loc['validation', data]:.1f} |")
    print("\n| method, any options | runs | `last`, with noise | `validation` | `last`, 60 % noise | `validation` |\n| --- | --- | --- | --- | --- | --- |")
    for method, n, values in by_method(found): print(f"| {method} | {n} | {' | '.join(values)} |")


if __name__ == "__main__":
    if sys.argv[1:] not in ([], ["--table"]): raise SystemExit(__doc__)
    main()
