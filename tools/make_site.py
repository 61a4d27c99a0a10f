"""Make the pages of the site from the notebooks, and build it.

    python tools/make_site.py        writes _site_src/ and _docs/

Lessons come in their order, then how-tos and the reference notebooks; every module gets a page that lists its public
names with a table of their arguments, read from the code. Names in back-ticks become links to it."""
import importlib
import inspect
import json
import re
import shutil
import subprocess
import sys
from dataclasses import is_dataclass
from pathlib import Path

import nbformat
from address import ROOT, colab, is_ours, settings
from fastcore.docments import docments

SOURCE, OUT = ROOT/"_site_src", ROOT/"_docs"
CODE = re.compile(r"(```.*?```|\$\$.*?\$\$|<details>.*?</details>|\[[^\]]*\]\([^)]*\))", re.S)   # left alone when names are linked


def modules():
    "Names of the package's modules, in the order of the notebooks that export them."
    found = []
    for path in sorted((ROOT/"nbs").glob("[0-9]*.ipynb")):
        exp = re.search(r"#\| default_exp (\w+)", path.read_text())
        if exp: found.append((exp[1], path))
    return found


def label(module, name, obj):
    "Of the entry; `Team` and `team` differ in kind, since Sphinx does not tell capitals apart."
    return f"api-{module}-{'class' if inspect.isclass(obj) else 'function'}-{name.lower()}"


def public(module):
    "Public functions and classes that a module defines, by name, in the order of its text."
    m = importlib.import_module(f"cufit.{module}")
    own = {n: getattr(m, n) for n in m.__all__ if getattr(getattr(m, n), "__module__", None) == m.__name__ and callable(getattr(m, n))}
    return dict(sorted(own.items(), key=lambda kv: inspect.getsourcelines(inspect.unwrap(kv[1]))[1]))


def typename(a):
    if a is inspect.Parameter.empty or a is None: return ""
    return getattr(a, "__name__", None) or str(a).replace("typing.", "")


def cell(text): return str(text).replace("|", "\\|").replace("\n", " ")


def arguments(obj):
    "Rows of the table of arguments: name, type, default, what it is."
    if inspect.isclass(obj) and not (is_dataclass(obj) or "__init__" in vars(obj)): return []   # its parents' arguments stand there
    docs = docments(obj.__init__ if inspect.isclass(obj) and not is_dataclass(obj) else obj, full=True, returns=True)
    rows = []
    for name, d in docs.items():
        if name == "self" or (name == "return" and not d.docment and d.anno is inspect.Parameter.empty): continue
        default = "" if d.default is inspect.Parameter.empty else f"`{d.default!r}`" if len(repr(d.default)) < 40 else "..."
        rows.append(f"| {'**returns**' if name == 'return' else f'`{name}`'} | {cell(typename(d.anno))} | {cell(default)} | {cell(d.docment or '')} |")
    return rows


def entry(module, name, obj, address):
    "One public name: signature, what it does, where it stands, its arguments."
    kind = "class" if inspect.isclass(obj) else "function"
    lines, start = inspect.getsourcelines(inspect.unwrap(obj))
    file = Path(inspect.getsourcefile(inspect.unwrap(obj))).relative_to(ROOT)
    doc = inspect.getdoc(obj) if obj.__doc__ and not (kind == "class" and obj.__doc__.startswith(f"{name}(")) else ""
    rows = arguments(obj)
    table = ["", "| argument | type | default | |", "| --- | --- | --- | --- |", *rows] if rows else []
    text = [f"({label(module, name, obj)})=", f"## {name}", "", f"*{kind}* · [source]({address}/{file}#L{start})", "", doc or "", *table, ""]
    if kind == "class":
        for n, m in vars(obj).items():
            if n.startswith("_") or not inspect.isfunction(m) or not m.__doc__: continue
            text += entry_method(name, n, m)
    return text


def entry_method(owner, name, method):
    rows = arguments(method)
    table = ["", "| argument | type | default | |", "| --- | --- | --- | --- |", *rows, ""] if rows else [""]
    return [f"### {owner}.{name}", "", inspect.getdoc(method), *table]


def api_page(module, notebook, address):
    title = first_line(notebook)
    text = [f"# cufit.{module}", "", f"{title} Explained, shown and tested in [{notebook.name}](../{notebook.name}).", ""]
    for name, obj in public(module).items(): text += entry(module, name, obj, address)
    return "\n".join(text) + "\n"


def first_line(notebook):
    "The sentence that sums a notebook up."
    text = "".join(json.loads(notebook.read_text())["cells"][0]["source"])
    return next((l[1:].strip() for l in text.splitlines() if l.startswith(">")), "")


def link_names(text, where):
    "Link the public names in back-ticks to their entries."
    def outside(part): return re.sub(r"`(\w+)`", lambda m: f"[`{m[1]}`](#{where[m[1]]})" if m[1] in where else m[0], part)
    parts = CODE.split(text)
    return "".join(p if i % 2 else outside(p) for i, p in enumerate(parts))


def page(notebook, cfg, where):
    "A notebook as the site shows it."
    nb = nbformat.read(notebook, as_version=4)
    nb.cells = [c for c in nb.cells if not is_ours(c)]
    kept = []
    for c in nb.cells:
        lines = c.source.splitlines()
        flags = [l for l in lines if l.startswith("#|")]
        c.source = "\n".join(l for l in lines if not l.startswith("#|")).strip("\n")
        if any("hide" in f or "default_exp" in f for f in flags) or not c.source: continue
        if any("echo: false" in f for f in flags): c.metadata["tags"] = ["remove-input"]
        if c.cell_type == "markdown": c.source = link_names(c.source.replace("../benchmarks/README.md", "results.md"), where)
        else: c.outputs = [still(o) for o in c.outputs]
        kept.append(c)
    nb.cells = kept
    address = colab(cfg, notebook.name)
    offers = ([f"[Open in Colab]({address})"] if address else []) + [f'<a href="_static/notebooks/{notebook.name}" download>Download this notebook</a>']
    if notebook.name != "index.ipynb": nb.cells.insert(1, nbformat.v4.new_markdown_cell(" · ".join(offers), id="offers"))
    return nb


def still(output):
    "A widget cannot answer on a page: say where its picture is."
    if "application/vnd.jupyter.widget-view+json" not in output.get("data", {}): return output
    note = '<p class="frames"><em>A widget: it answers in JupyterLab and Colab. Pictures of the explorers are on the page <a href="80_explore.html">Explore</a>.</em></p>'
    return nbformat.v4.new_output("display_data", {"text/html": note, "text/plain": "a widget"})


def contents(pages):
    def tree(caption, names): return ["```{toctree}", f":caption: {caption}", ":hidden:", "", *names, "```", ""]
    lessons = [n for n in pages if re.search(r"^Lesson \d", pages[n], re.M)]
    others = [n for n in pages if n not in lessons and n != "index"]
    howto = [n for n in others if re.search(r"^How-to", pages[n], re.M)]
    lines = tree("Lessons", sorted(lessons, key=lambda n: int(re.search(r"^Lesson (\d+)", pages[n], re.M)[1])))
    lines += tree("Use it", [*howto, "results", "80_explore", "cite", "changelog"])
    lines += tree("Notebooks of the package", [n for n in others if n not in howto and n != "80_explore"])
    return "\n".join(lines + tree("Reference", [f"api/{m}" for m, _ in modules()]))


def cite(readme):
    "The section of the README on citing, as a page."
    part = readme[readme.index("## Cite"):].split("\n", 1)
    return f"# {part[0][3:]}\n{part[1]}"


def write_pages():
    cfg = settings()
    blob = f"{cfg['git_url']}/blob/{cfg['branch']}"
    shutil.rmtree(SOURCE, ignore_errors=True); (SOURCE/"api").mkdir(parents=True); (SOURCE/"static"/"notebooks").mkdir(parents=True)
    where = {name: label(m, name, obj) for m, _ in modules() for name, obj in public(m).items()}
    intro = {}
    for path in sorted((ROOT/"nbs").glob("*.ipynb")):
        nb = page(path, cfg, where)
        intro[path.stem] = nb.cells[0].source
        if path.stem != "index": nbformat.write(nb, SOURCE/path.name)
        shutil.copy(path, SOURCE/"static"/"notebooks"/path.name)
    home = page(ROOT/"nbs"/"index.ipynb", cfg, where)
    home.cells.append(nbformat.v4.new_markdown_cell(contents(intro), id="contents"))
    nbformat.write(home, SOURCE/"index.ipynb")
    for m, notebook in modules(): (SOURCE/"api"/f"{m}.md").write_text(api_page(m, notebook, blob))
    results = (ROOT/"benchmarks"/"README.md").read_text().replace("../nbs/", "")
    (SOURCE/"results.md").write_text(link_names(results, where))
    (SOURCE/"cite.md").write_text(cite((ROOT/"README.md").read_text()))
    (SOURCE/"changelog.md").write_text((ROOT/"CHANGELOG.md").read_text())


def main():
    write_pages()
    shutil.rmtree(OUT, ignore_errors=True)
    sys.exit(subprocess.run([sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-c", ROOT/"docs", SOURCE, OUT]).returncode)


if __name__ == "__main__": main()
