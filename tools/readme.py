"""Make README.md from nbs/index.ipynb: its text as it is, its code cells as code blocks with what they printed or drew.

Pictures go to docs/pictures, under the id of their cell; `#| fig-alt:` in the cell says what is to be seen."""
import base64
import io
import json
import re

from PIL import Image

from house import PARTS, ROOT

PICTURES = ROOT/"docs"/"pictures"


def links(text):
    "Links between notebooks lead to the files."
    return re.sub(rf"\]\(({'|'.join(PARTS)})/", r"](nbs/\1/", text.replace("](../", "]("))


def picture(cell, png):
    "Write a picture of a cell, and the Markdown that shows it."
    path = PICTURES/f"{cell['id']}.png"
    path.parent.mkdir(exist_ok=True); Image.open(io.BytesIO(base64.b64decode("".join(png)))).save(path, optimize=True)
    alt = re.search(r"^#\| fig-alt: (.+)$", "".join(cell["source"]), re.M)
    if not alt: raise SystemExit(f"nbs/index.ipynb: cell {cell['id']} draws a picture; say what is to be seen in a line `#| fig-alt: ...`")
    return f"![{alt[1]}]({path.relative_to(ROOT)})\n"


def wide(data):
    "The picture among the forms of an output, of two that of a wide screen."
    found = re.search(r'srcset="data:image/webp;base64,([^"]+)"', "".join(data.get("text/html", "")))
    return found[1] if found else data.get("image/png")


def block(cell):
    "A code cell as Markdown; none for a hidden one."
    source = "".join(cell["source"])
    if source.startswith("#| hide"): return ""
    echo = not source.startswith("#| echo: false")
    drawn = [png for o in cell["outputs"] if (png := wide(o.get("data", {})))]
    out = "".join("".join(o.get("text", o.get("data", {}).get("text/plain", ""))) for o in cell["outputs"] if not wide(o.get("data", {})))
    parts = ([f"```python\n{source}\n```\n"] if echo else []) + ([f"```\n{out.rstrip()}\n```\n"] if out else []) + [picture(cell, p) for p in drawn]
    return "\n".join(parts)


def main():
    cells = json.loads((ROOT/"nbs"/"index.ipynb").read_text())["cells"]
    parts = ["".join(c["source"]) + "\n" if c["cell_type"] == "markdown" else block(c) for c in cells]
    (ROOT/"README.md").write_text(links("\n".join(p for p in parts if p)))


if __name__ == "__main__": main()
