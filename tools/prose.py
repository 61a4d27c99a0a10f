"""Figures in the text that come from a recorded table, kept as the table has them.

    python tools/prose.py        writes those that differ, and names them

Behind such a figure stands a comment that no page shows: `57.3 %<!--= mean('pocket', 'last_balanced_accuracy',
method='linear', noise=.4) -->`. What the comment says is computed from `benchmarks/results` and written with as many
decimals as the figure has. A table is named without its ending; what follows the column are the values that rows must
have. `mean`, `low` and `high` are over the rows, in per cent; `gap(table, column, a, b, ...)` is the mean of the paired
differences between two methods, seed by seed, in points. A method is named as in the explorer, such as
'cufit, balanced'. `tests/test_check.py` looks for decimals beside such figures that say nothing of where they are from."""
import json
import re
from functools import cache

import pandas as pd
from house import ROOT, notebooks

RESULTS = ROOT/"benchmarks"/"results"
FIGURE = re.compile(r"(?P<said>[+-]?\d+(?:\.(?P<decimals>\d+))?)(?P<unit>(?: ?%| points?)?)<!--= (?P<what>.*?) -->")
BARE = re.compile(r"(?<![\w.])\d+\.\d+(?=(?: ?%| points?\b))(?! ?%<!--| points?<!--)")   # a decimal of per cent or points without a source


@cache
def runs(table):
    from cufit.run.results import method_label
    found = pd.read_csv(RESULTS/f"{table}.csv")
    if "method" not in found: return found
    options = found.get("options", pd.Series("", found.index)).astype(object).fillna("")
    return found.assign(method=[method_label(*run) for run in zip(found.method, options)])


def rows(table, column, **where):
    found = runs(table)
    for name, value in where.items(): found = found[found[name] == value]
    if not len(found) or found[column].isna().any(): raise SystemExit(f"{table}.csv has no {column} of {where}")
    return found.set_index("seed")[column]*100


def mean(*which, **where): return rows(*which, **where).mean()
def low(*which, **where): return rows(*which, **where).min()
def high(*which, **where): return rows(*which, **where).max()
def gap(table, column, a, b, **where): return (rows(table, column, method=a, **where)-rows(table, column, method=b, **where)).mean()


def shown(found):
    value = eval(found["what"], dict(mean=mean, low=low, high=high, gap=gap))
    sign = "+" if found["said"].startswith("+") else ""
    return f"{value:{sign}.{len(found['decimals'] or '')}f}{found['unit']}<!--= {found['what']} -->"


def renewed(text): return FIGURE.sub(shown, text)


def bare(text):
    "Decimals of per cent or points that stand beside a figure with a source and have none."
    return BARE.findall(text) if FIGURE.search(text) else []


def texts():
    "Every text that may hold such figures: cells of notebooks, and paragraphs of the benchmarks' page."
    for path in notebooks():
        for c in json.loads(path.read_text())["cells"]:
            if c["cell_type"] == "markdown": yield path, "".join(c["source"])
    path = ROOT/"benchmarks"/"README.md"
    for part in path.read_text().split("\n\n"): yield path, part


def main():
    for path in notebooks():
        nb = json.loads(path.read_text())
        before = json.dumps(nb)
        for c in nb["cells"]:
            if c["cell_type"] == "markdown": c["source"] = renewed("".join(c["source"])).splitlines(keepends=True)
        if json.dumps(nb) != before: path.write_text(json.dumps(nb, indent=1, ensure_ascii=False, sort_keys=True)+"\n")
    path = ROOT/"benchmarks"/"README.md"
    path.write_text(renewed(path.read_text()))


if __name__ == "__main__": main()
