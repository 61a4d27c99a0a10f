"""Write what depends on the public address into the notebooks: badge, install cell, clone line. The address itself stands in settings.ini alone.

Every notebook but the home page gets two cells behind its title: a badge that opens it in Colab, and a cell that fetches the
repository and installs the package where it is missing. To move the project, change settings.ini and run this again."""
import json
import re
from configparser import ConfigParser

from house import ROOT, notebooks

FIRST = "lessons/0_start_here.ipynb"   # what the home page offers
CLONE = re.compile(r"git clone \S+ && cd \S+")


def settings():
    cfg = ConfigParser(delimiters=["="]); cfg.read(ROOT/"settings.ini", encoding="utf-8")
    return cfg["DEFAULT"]


def colab(cfg, notebook):
    "Address that opens a notebook, such as `lessons/1_data.ipynb`, in Colab; None where the host is not one that Colab reads from."
    host, _, repository = cfg["git_url"].partition("github.com/")
    return f"https://colab.research.google.com/github/{repository}/blob/{cfg['branch']}/nbs/{notebook}" if host == "https://" else None


def badge(cfg, notebook):
    address = colab(cfg, notebook)
    return f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({address})" if address else f"[Source]({cfg['git_url']})"


def install(cfg, notebook):
    "Colab opens the notebook alone: its neighbours, the recorded results and the package come from the repository."
    folder = "/".join(["nbs", *notebook.split("/")[:-1]])
    return (f"from importlib.util import find_spec\n\nif find_spec('{cfg['lib_name']}') is None:\n"
            f"    !git clone --quiet --depth 1 --branch {cfg['branch']} {cfg['git_url']}\n"
            f"    %cd {cfg['repo']}/{folder}\n    %pip install --quiet {'/'.join(['..']*len(folder.split('/')))}")


def is_ours(cell): return "".join(cell["source"]).startswith(("[![Open in Colab", "[Source](", "from importlib.util import find_spec\n\nif find_spec("))


def cell(kind, text, name):
    extra = dict(execution_count=None, outputs=[]) if kind == "code" else {}
    return dict(cell_type=kind, id=name, metadata={}, source=text.splitlines(keepends=True)) | extra


def rewritten(cells, name, cfg):
    "The cells of the notebook `name`, its path below nbs/, as this address has them."
    cells = [c for c in cells if not is_ours(c)]
    for c in cells:
        if c["cell_type"] == "markdown": c["source"] = CLONE.sub(f"git clone {cfg['git_url']} && cd {cfg['repo']}", "".join(c["source"])).splitlines(keepends=True)
    first = colab(cfg, FIRST) and badge(cfg, FIRST).replace("Open in Colab", "Open in Colab: start here")
    if name == "index.ipynb": return [cells[0], *([cell("markdown", first, "badge")] if first else []), *cells[1:]]
    return [cells[0], cell("markdown", badge(cfg, name), "badge"), cell("code", install(cfg, name), "install"), *cells[1:]]


def main():
    cfg = settings()
    for path in notebooks():
        notebook = json.loads(path.read_text())
        notebook["cells"] = rewritten(notebook["cells"], path.relative_to(ROOT/"nbs").as_posix(), cfg)
        path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n")


if __name__ == "__main__": main()
