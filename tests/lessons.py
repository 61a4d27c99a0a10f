"Which notebooks are lessons, and which show widgets."
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
TEXTS = {p.stem: p.read_text() for p in sorted((ROOT/"nbs").glob("*.ipynb"))}
LESSONS = [n for n, text in TEXTS.items() if re.search(r"Lesson \d+ of", text)]
WITH_WIDGETS = [n for n, text in TEXTS.items() if "application/vnd.jupyter.widget-view+json" in text]
TRIED = sorted({*LESSONS, *WITH_WIDGETS})   # a reader runs these by hand
