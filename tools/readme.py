"""Make README.md from nbs/index.ipynb: its text as it is, its code cells as code blocks with what they printed."""
import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def links(text):
    "Links between notebooks lead to the files."
    return re.sub(r"\]\((\d\d_)", r"](nbs/\1", text.replace("](../", "]("))


def block(cell):
    "A code cell as Markdown; none for a hidden one."
    source = "".join(cell["source"])
    if source.startswith("#| hide"): return ""
    echo = not source.startswith("#| echo: false")
    out = "".join("".join(o.get("text", o.get("data", {}).get("text/plain", ""))) for o in cell["outputs"])
    parts = ([f"```python\n{source}\n```\n"] if echo else []) + ([f"```\n{out.rstrip()}\n```\n"] if out else [])
    return "\n".join(parts)


def main():
    cells = json.loads((ROOT/"nbs"/"index.ipynb").read_text())["cells"]
    parts = ["".join(c["source"]) + "\n" if c["cell_type"] == "markdown" else block(c) for c in cells]
    (ROOT/"README.md").write_text(links("\n".join(p for p in parts if p)))


if __name__ == "__main__": main()
