"""Make README.md from nbs/index.ipynb: its text as it is, its code cells as code blocks with what they printed."""
import json
from configparser import ConfigParser
from pathlib import Path

ROOT = Path(__file__).parents[1]


def settings():
    cfg = ConfigParser(delimiters=["="]); cfg.read(ROOT/"settings.ini", encoding="utf-8")
    return cfg["DEFAULT"]


def links(text, address, branch):
    "Links between notebooks lead to the files; {git_url} is the address of the repository."
    return text.replace("{git_url}", address).replace("{branch}", branch).replace("](../", "](").replace("](0", "](nbs/0").replace("](1", "](nbs/1").replace("](8", "](nbs/8").replace("](9", "](nbs/9")


def block(cell):
    "A code cell as Markdown; none for a hidden one."
    source = "".join(cell["source"])
    if source.startswith("#| hide"): return ""
    echo = not source.startswith("#| echo: false")
    out = "".join("".join(o.get("text", o.get("data", {}).get("text/plain", ""))) for o in cell["outputs"])
    parts = ([f"```python\n{source}\n```\n"] if echo else []) + ([f"```\n{out.rstrip()}\n```\n"] if out else [])
    return "\n".join(parts)


def main():
    cfg = settings()
    cells = json.loads((ROOT/"nbs"/"index.ipynb").read_text())["cells"]
    parts = ["".join(c["source"]) + "\n" if c["cell_type"] == "markdown" else block(c) for c in cells]
    (ROOT/"README.md").write_text(links("\n".join(p for p in parts if p), cfg["git_url"], cfg["branch"]))


if __name__ == "__main__": main()
