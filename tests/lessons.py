"Which notebooks are lessons, which show widgets, and what their exercises are answered with."
import re

import nbformat
from house import ROOT, notebooks

TEXTS = {p.relative_to(ROOT/"nbs").with_suffix("").as_posix(): p.read_text() for p in notebooks()}
LESSONS = [n for n in TEXTS if n.startswith("lessons/")]
WITH_WIDGETS = [n for n, text in TEXTS.items() if "application/vnd.jupyter.widget-view+json" in text]
TRIED = sorted({*LESSONS, *WITH_WIDGETS})   # a reader runs these by hand
SOLUTION = re.compile(r"<details><summary>(?:A s|S)olution</summary>(.*?)</details>", re.S)


def solutions(text):
    "The cells of each folded solution in the text of a cell."
    return [re.findall(r"```python\n(.*?)```", found, re.S) for found in SOLUTION.findall(text)]


def with_solutions(nb):
    "The notebook with the code of each folded solution in cells behind it, as a reader would paste it."
    cells = [[c, *(nbformat.v4.new_code_cell(code.strip()) for found in solutions(c.source) for code in found)] if c.cell_type == "markdown" else [c] for c in nb.cells]
    nb.cells = sum(cells, [])
    return nb
