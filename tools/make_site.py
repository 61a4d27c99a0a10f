"""Make the pages of the site from the notebooks, and build it.

    python tools/make_site.py        writes _docs/, by way of _site_src/

The pages stand in the folders of nbs/, and the sidebar has the same parts. Every room of the house gets a page that
lists its public names with a table of their arguments and the errors they raise, read from the text of the code: nothing
of the package is imported. Names in back-ticks become links to it. Where a notebook holds a widget, the page has its
frames."""
import ast
import html
import io
import json
import re
import shutil
import subprocess
import sys
import tokenize
from itertools import accumulate

from address import colab, is_ours, settings
from house import HOUSE, PARTS, ROOT, exports, modules, notebooks

WORK, OUT = ROOT/"_site_src", ROOT/"_docs"
SOURCE, STATIC = WORK/"pages", WORK/"static"
CODE = re.compile(r"(```.*?```|\$\$.*?\$\$|<details>.*?</details>|\[[^\]]*\]\([^)]*\))", re.S)   # left alone when names are linked
DRAWING = ("figure", "plot", "run.report", "explore.")   # beginnings of the rooms whose functions draw
WIDGET = "application/vnd.jupyter.widget-view+json"


class Module:
    "What the text of a module says about its public names."
    def __init__(self, name):
        self.path = f"cufit/{name.replace('.', '/')}.py"
        text = (ROOT/self.path).read_text()
        self.name, self.lines, self.tree = name, text.splitlines(), ast.parse(text)
        self.comments = {t.start[0]: t.string.lstrip("# ") for t in tokenize.generate_tokens(io.StringIO(text).readline) if t.type == tokenize.COMMENT}
        self.nodes = {n: node for node in self.tree.body for n in names_of(node)}
        self.public = {n: self.nodes[n] for n in ast.literal_eval(self.nodes["__all__"].value)}
        self.public = dict(sorted(self.public.items(), key=lambda kv: kv[1].lineno))


def names_of(node):
    "The names that a statement defines."
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)): return [node.name]
    return [n.id for t in node.targets for n in ast.walk(t) if isinstance(n, ast.Name)] if isinstance(node, ast.Assign) else []


def kind(node): return {ast.FunctionDef: "function", ast.ClassDef: "class"}.get(type(node), "constant")


def label(module, name, node):
    "Of the entry; `Team` and `team` differ in kind, since Sphinx does not tell capitals apart."
    return f"api-{module.replace('.', '-')}-{kind(node)}-{name.lower()}"


def label_method(module, owner, name): return f"api-{module.replace('.', '-')}-method-{owner.lower()}-{name.lower()}"


def cell(text): return str(text).replace("|", "\\|").replace("\n", " ")
def code(text): return f"<code>{html.escape(cell(text))}</code>" if text else ""   # not in back-ticks: an argument is not the function of the same name
def source(node): return ast.unparse(node) if node else ""


def header_end(module, node):
    "The line of the colon behind a function's arguments."
    depth = 0
    lines = iter(f"{l}\n" for l in module.lines[node.lineno-1:])
    for t in tokenize.generate_tokens(lambda: next(lines)):
        depth += t.string in ("(", "[", "{") if t.type == tokenize.OP else 0
        depth -= t.string in (")", "]", "}") if t.type == tokenize.OP else 0
        if t.type == tokenize.OP and t.string == ":" and not depth: return node.lineno+t.start[0]-1


def parameters(node):
    "Arguments of a function with their defaults, in the order of the text."
    a = node.args
    plain = [*a.posonlyargs, *a.args]
    pairs = list(zip(plain, [None]*(len(plain)-len(a.defaults))+a.defaults))
    pairs += [(a.vararg, None)]*bool(a.vararg) + list(zip(a.kwonlyargs, a.kw_defaults)) + [(a.kwarg, None)]*bool(a.kwarg)
    return [(f"{'*' if p is a.vararg else '**' if p is a.kwarg else ''}{p.arg}", p, d) for p, d in pairs if p.arg != "self"]


def arguments(module, node):
    "Rows of the table of a function: name, type, default, what it is; a comment belongs to the last argument of its line."
    end, found = header_end(module, node), parameters(node)
    last = {(d or p).end_lineno: name for name, p, d in found}
    said = {name: module.comments.get(line, "") for line, name in last.items() if line != end}
    rows = [row(code(name), source(p.annotation), source(d), said.get(name, "")) for name, p, d in found]
    back = module.comments.get(end, "")
    unclear = end in last and not node.returns   # `def f(x): # what` may speak of either: it says nothing of the two
    return rows + ([row("" if unclear else "**returns**", source(node.returns), "", back)] if node.returns or back else [])


def row(name, kind, default, what): return f"| {name} | {cell(kind)} | {code(default) if len(default) < 60 else '...'} | {cell(what)} |"


def attributes(module, node):
    "Rows of the table of a class: the arguments of its constructor, or its fields."
    init = next((n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
    if init: return arguments(module, init)
    fields = [n for n in node.body if isinstance(n, ast.AnnAssign)] if any("dataclass" in ast.unparse(d) for d in node.decorator_list) else []
    return [row(code(n.target.id), source(n.annotation), source(n.value), module.comments.get(n.end_lineno, "")) for n in fields]


def words(node):
    "The text of an error, with dots where a value will stand."
    if isinstance(node, ast.Constant): return str(node.value)
    if isinstance(node, ast.JoinedStr): return "".join(words(v) for v in node.values)
    return words(node.left)+words(node.right) if isinstance(node, ast.BinOp) else "…"


def errors(module, node, seen=()):
    "What a piece of code says when it refuses, its private helpers included."
    found = []
    for n in ast.walk(node):
        called = n.func.id if isinstance(n, ast.Call) and isinstance(n.func, ast.Name) else ""
        if called == "CufitError" and n.args: found.append(words(n.args[0]))
        if called == "choose" and len(n.args) > 2: found.append(f"Unknown {words(n.args[2])} … Valid: …")
        if called.startswith("_") and called in module.nodes and called not in seen: found += errors(module, module.nodes[called], (*seen, called))
    return list(dict.fromkeys(found))


def refusals(module, node):
    found = errors(module, node)
    if not found: return []
    return [f"<details class=\"errors\"><summary>Errors: <code>CufitError</code>, {len(found)} {'case' if len(found) == 1 else 'cases'}</summary><ul>{''.join(f'<li>{html.escape(e)}</li>' for e in found)}</ul></details>", ""]


def table(rows): return [":::{container} arguments", "", "| argument | type | default | what it is |", "| --- | --- | --- | --- |", *rows, ":::", ""] if rows else []


def entry(module, name, node, address):
    "One public name: what it is, where it stands, what it does, its arguments, its errors."
    origin = f"[source]({address}/{module.path}#L{node.lineno})"
    text = [f"({label(module.name, name, node)})=", f"## {name}", ""]
    if kind(node) == "constant": return text + [f"*constant* · {origin}", "", module.comments.get(node.end_lineno, ""), "", "```python", *shortened(source(node)), "```", ""]
    bases = ", ".join(f"`{source(b)}`" for b in getattr(node, "bases", []))
    text += [f"*{kind(node)}*{f' of kind {bases}' if bases else ''} · {origin}", "", ast.get_docstring(node) or "", ""]
    if kind(node) == "function": return text + table(arguments(module, node)) + refusals(module, node)
    inits = [n for n in node.body if isinstance(n, ast.FunctionDef) and n.name in ("__init__", "__post_init__")]
    text += table(attributes(module, node)) + refusals(module, ast.Module(inits, []))
    return text + [line for n in methods(node) for line in entry_method(module, name, n)]


def shortened(text, most=400): return (text if len(text) <= most else f"{text[:most]} ...").splitlines()


def methods(node):
    return [n for n in node.body if isinstance(n, ast.FunctionDef) and not n.name.startswith("_") and ast.get_docstring(n)]


def entry_method(module, owner, node):
    prop = "*property*\n\n" if any(source(d).endswith("property") for d in node.decorator_list) else ""
    name = [f"({label_method(module.name, owner, node.name)})=", f"### {owner}.{node.name}", ""]
    return [*name, f"{prop}{ast.get_docstring(node)}", "", *table(arguments(module, node)), *refusals(module, node)]


def places(found):
    "Where the names in back-ticks lead: `name`, `room.name`, `wing.room.name`, `Class.method`."
    where = {}
    for m in found:
        for name, node in m.public.items():
            where[name] = where[f"{m.name}.{name}"] = where[f"{m.name.split('.')[-1]}.{name}"] = label(m.name, name, node)
            for n in methods(node) if kind(node) == "class" else []: where[f"{name}.{n.name}"] = label_method(m.name, name, n.name)
    return where


def api_page(module, notebook, where, address):
    inside = notebook.relative_to(ROOT/"nbs").as_posix()
    text = [f"# cufit.{module.name}", "", f"{first_line(notebook)} Explained, shown and tested in [{title(notebook)}](../{inside}).", ""]
    for name, node in module.public.items(): text += entry(module, name, node, address)
    text += tree([f"{title(notebook)}: the notebook </{inside.removesuffix('.ipynb')}>"]) if inside.startswith("api/") else []
    return link_names("\n".join(text) + "\n", where, [module.name])


def wing_page(wing, made):
    "What a wing knows, and its rooms."
    found = [f"{wing.name}.{room}" for room in wing.rooms.split()]
    rows = [f"| [cufit.{name}]({name}.md) | {cell(first_line(made[name]))} |" for name in found]
    return "\n".join([f"# cufit.{wing.name}", "", f"{wing.about[0].upper()}{wing.about[1:]}. Here goes: {wing.goes}.", "", "| room | what it is |", "| --- | --- |", *rows, "", *tree(found)])


def house_page(made):
    "The wings in their order, with what each knows and what would be put there."
    rows = []
    for wing in HOUSE:
        found = [f"{wing.name}.{room}".lstrip(".") for room in wing.rooms.split()]
        links = ", ".join(f"[{name.split('.')[-1]}]({name}.md)" + (f" (lesson {made[name].name[0]})" if made[name].parent.name == "lessons" else "") for name in found) or "none yet"
        rows.append(f"| {f'`{wing.name}`' if wing.name else '(no wing)'} | {wing.about} | {links} | {wing.goes} |")
    return "\n".join(["# Where things stand", "", "A room is a module of the package and the notebook that it is exported from. Rooms stand in wings, and a room imports only rooms that stand before it in this table: read it from the top, and nothing is used before it is explained. "
                      "A lesson is the source of the room that it explains, as the table says; all other rooms have their notebook in `nbs/api`, under the name of the module.", "",
                      "| wing | what it knows | rooms | what goes there |", "| --- | --- | --- | --- |", *rows, "",
                      "A new lesson goes into `nbs/lessons`, with the next number in its name, and need not export anything; instructions for one task into `nbs/howto`, a neighbouring method into `nbs/neighbours`. A new room is entered in `tools/house.py`, which the tests, this table and the sidebar read.", ""])


def title(notebook):
    "The first heading of a notebook."
    return "".join(json.loads(notebook.read_text())["cells"][0]["source"]).splitlines()[0].lstrip("# ")


def tree(pages, caption=""):
    "The pages in the sidebar, below the page that this is part of."
    return ["```{toctree}", *[f":caption: {caption}"]*bool(caption), ":hidden:", "", *pages, "```", ""]


def first_line(notebook):
    "The sentence that sums a notebook up."
    text = "".join(json.loads(notebook.read_text())["cells"][0]["source"])
    return next((l[1:].strip() for l in text.splitlines() if l.startswith(">")), "")


def link_names(text, where, near=()):
    """Link the public names in back-ticks to their entries.

    A plain word, such as `view`, is a name only in the modules that are `near`; the first that has it counts."""
    def linked(m):
        name = m[1].removeprefix("cufit.")
        found = next((where[k] for k in (*(f"{n}.{name}" for n in near), name) if k in where), None)
        plain = name.islower() and not re.search(r"[_.]", name) and not any(f"{n}.{name}" in where for n in near)
        return m[0] if plain or not found else f"[`{m[1]}{m[2]}`](#{found})"
    parts = CODE.split(text)
    return "".join(p if i % 2 else re.sub(r"(?<!`)`([\w.]+)((?:\(\))?)`(?!`)", linked, p) for i, p in enumerate(parts))


def near(text, own=""):
    "Modules that a text is about: its own first, then those it imports."
    return list(dict.fromkeys([own]*bool(own) + re.findall(r"(?:from |import )cufit\.([\w.]+)", text)))


def markdown(text, name): return dict(cell_type="markdown", id=name, metadata={}, source=text)


def drawers(found):
    "The functions that draw, with what their pictures show."
    return {n: ast.get_docstring(node).splitlines()[0] for m in found if m.name.startswith(DRAWING) for n, node in m.public.items() if kind(node) == "function" and ast.get_docstring(node)}


def alternative(text, flags, heading, drawn):
    "What a picture shows, for those who cannot see it: the cell's own words, or the heading above and those of the function that drew it."
    own = next((f.partition(":")[2].strip() for f in flags if f.startswith("#| fig-alt:")), "")
    calls = [n.func for statement in reversed(ast.parse(text).body) for n in ast.walk(statement) if isinstance(n, ast.Call)]
    said = next((f" {drawn[n]}" for f in calls if (n := getattr(f, "id", getattr(f, "attr", ""))) in drawn), "")
    return own or f"{heading}.{said}"


def page(path, cfg, where, stills, drawn):
    "A notebook as the site shows it, as the dictionary of its file."
    text = path.read_text()
    nb, about, inside = json.loads(text), near(text, exports(path) or ""), path.relative_to(ROOT/"nbs").as_posix()
    up = "../"*inside.count("/")
    cells = [c for c in nb["cells"] if not is_ours(c)]
    heads = list(accumulate(("".join(c["source"]) if c["cell_type"] == "markdown" else "" for c in cells), lambda head, new: (re.findall(r"^#+ (.+)", new, re.M) or [head])[-1]))
    nb["cells"] = [shown for c, head in zip(cells, heads) if (shown := as_shown(c, where, about, stills, head, drawn, up))]
    address = colab(cfg, inside)
    offers = [f'<a class="offer" href="{address}">Open in Colab</a>']*bool(address) + [f'<a class="offer" href="{up}_static/notebooks/{inside}" download>Download this notebook</a>']
    if path.name != "index.ipynb": nb["cells"].insert(1, markdown(f'<p class="offers">{" ".join(offers)}</p>', "offers"))
    return nb


def as_shown(c, where, about, stills, heading, drawn, up):
    "A cell without its flags, with links or frames; nothing for one that is hidden or empty."
    lines = "".join(c["source"]).splitlines()
    flags = [l for l in lines if l.startswith("#|")]
    text = "\n".join(l for l in lines if not l.startswith("#|")).strip("\n")
    if any("hide" in f or "default_exp" in f for f in flags) or not text: return None
    if c["cell_type"] == "markdown": return c | dict(source=link_names(text.replace(f"../{up}benchmarks/README.md", f"{up}results.md").replace(f"../{up}CONTRIBUTING.md", f"{up}contributing.md"), where, about))
    tags = dict(tags=["remove-input"]) if any("echo: false" in f for f in flags) else {}
    myst = dict(image=dict(alt=alternative(text, flags, heading, drawn))) if any("image/png" in o.get("data", {}) for o in c["outputs"]) else {}
    pictured = any("image/png" in o.get("data", {}) or "<img" in "".join(o.get("data", {}).get("text/html", "")) for o in c.get("outputs", []))
    if "hide-input" in c["metadata"].get("tags", []): myst |= {f"code_prompt_{do}": f"{do.capitalize()} the code: {inside(text, '#| export' in flags, pictured)}" for do in ("show", "hide")}
    if myst: tags |= dict(mystnb=myst)
    return c | dict(source=text, metadata=c["metadata"] | tags, outputs=[still(o, text, stills, up) for o in c["outputs"]])


def inside(text, exported, draws):
    "What a folded cell holds, in a few words: imports (of the package's module, or of the page alone), a picture, checks, or the names that it defines."
    body = ast.parse(text).body
    if all(isinstance(node, (ast.Import, ast.ImportFrom)) for node in body): return "imports of the module" if exported else "imports of this page"
    if draws: return "the picture"
    if not exported and re.search(r"\bassert\b|\braises\(", text): return "checks"
    names = list(dict.fromkeys(n for node in body for n in names_of(node) if not n.startswith("_"))) or [n for node in body for n in names_of(node)]
    return ", ".join(names[:3]) + " and more"*(len(names) > 3) if names else shortened(text, 40)[0]


def frames():
    "The frames that were made beforehand, by the name of the view that drew them: what they show, the first words on it, their HTML."
    found, heading, text = {}, "", ""
    for path in notebooks():
        for c in json.loads(path.read_text())["cells"] if draws_widgets(path) else ():
            said = "".join(c["source"])
            if c["cell_type"] == "markdown": heading, text = (said[3:], "") if said.startswith("## ") else (heading, text or said)
            for o in c.get("outputs", []):
                shown = "".join(o.get("data", {}).get("text/html", ""))
                if m := re.match(r'<figure class="frames" data-view="(\w+)"', shown): found[m[1]] = heading, text, shown, path
    return found


def draws_widgets(path):
    "Whether the frames of a notebook stand for the widgets on all pages."
    return path.name.startswith("explore.")


def gallery(stills, where):
    "All widgets on one page, as frames that move."
    parts = ["# Gallery of widgets", "", "Each widget of the lessons as pictures made beforehand: move the slider, or press Play. In JupyterLab and Notebook the widget itself answers, to more controls than one; it is made for VS Code and Colab, too, but has not been opened there yet. "
             "[explore.panel](api/explore.panel.ipynb) says how they are made.", ""]
    for view, (heading, text, shown, path) in stills.items():
        widget = next(n for n in (f"{view.removesuffix('_view')}_{kind}" for kind in ("explorer", "player")) if n in where)
        parts += [f"## {heading}", "", link_names(text.replace("](../", "]("), where, [exports(path)]), "", shown, "", link_names(f"The widget: `{widget}`. The function behind it: `{view}`.", where), ""]
    return "\n".join(parts)


def still(output, text, stills, up):
    "A widget cannot answer on a page: its frames stand there, and a sentence that says so."
    if WIDGET not in output.get("data", {}): return output
    made = re.findall(r"\b(\w+)_(?:explorer|player)\(", text)
    found = stills.get(f"{made[-1]}_view" if made else "", ("", "", ""))[2]
    gallery = f'<a href="{up}gallery.html">gallery of widgets</a>'
    note = f"Pictures made beforehand. In Jupyter the widget itself answers, to all its controls; see the {gallery}."
    if not found: note = f"In Jupyter a widget stands here; see the {gallery}."
    return dict(output_type="display_data", metadata={}, data={"text/html": f'{found}<p class="note">{note}</p>', "text/plain": "a widget"})


def contents():
    "The sidebar: the folders of nbs/ as its parts, the reference by wings, then what was measured."
    pages = {part: [p for p in notebooks() if p.relative_to(ROOT/"nbs").parts[0] == part] for part in PARTS}
    def entry(path):
        number = re.match(r"\d+", path.name)
        return f"{f'{number[0]}. ' if number else ''}{title(path)} <{path.relative_to(ROOT/'nbs').with_suffix('').as_posix()}>"
    reference = [name for wing in HOUSE for name in ([wing.name] if wing.name and wing.rooms else wing.rooms.split() if not wing.name else [])]
    lines = [line for part, caption in PARTS.items() if part != "api" and pages[part] for line in tree([*map(entry, pages[part]), *["gallery"]*(part == "lessons")], caption)]
    lines += tree(["reference/house", *(f"reference/{name}" for name in reference)], PARTS["api"])
    return "\n".join(lines + tree(["results", "contributing", "cite", "changelog"], "Results and project"))


def cite(readme):
    "The section of the README on citing, as a page."
    part = readme[readme.index("## Cite"):].split("\n", 1)
    return f"# {part[0][3:]}\n{part[1]}"


def write(path, nb): path.write_text(json.dumps(nb, ensure_ascii=False))


def write_pages():
    cfg = settings()
    blob = f"{cfg['git_url']}/blob/{cfg['branch']}"
    shutil.rmtree(WORK, ignore_errors=True); (SOURCE/"reference").mkdir(parents=True)
    made = modules()
    found, stills = {Module(m): notebook for m, notebook in made.items()}, frames()
    where, drawn = places(found), drawers(found)
    for path in notebooks():
        inside = path.relative_to(ROOT/"nbs")
        nb = page(path, cfg, where, {} if draws_widgets(path) else stills, drawn)   # there they stand below the widget
        if path.name == "index.ipynb": nb["cells"].append(markdown(contents(), "contents"))
        for folder in (SOURCE, STATIC/"notebooks"): (folder/inside).parent.mkdir(parents=True, exist_ok=True)
        write(SOURCE/inside, nb)
        shutil.copy(path, STATIC/"notebooks"/inside)
    for m, notebook in found.items(): (SOURCE/"reference"/f"{m.name}.md").write_text(api_page(m, notebook, where, blob))
    for wing in HOUSE:
        if wing.name and wing.rooms: (SOURCE/"reference"/f"{wing.name}.md").write_text(wing_page(wing, made))
    (SOURCE/"reference"/"house.md").write_text(house_page(made))
    results = (ROOT/"benchmarks"/"README.md").read_text().replace("../nbs/", "")
    (SOURCE/"results.md").write_text(link_names(results, where))
    (SOURCE/"gallery.md").write_text(gallery(stills, where))
    (SOURCE/"cite.md").write_text(cite((ROOT/"README.md").read_text()))
    for name in ("changelog", "contributing"): (SOURCE/f"{name}.md").write_text((ROOT/f"{name.upper()}.md").read_text())


def main():
    write_pages()
    built = WORK/"html"   # what myst-nb leaves beside it stays in there
    done = subprocess.run([sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-c", ROOT/"docs", "-d", WORK/"doctrees", SOURCE, built])
    if done.returncode: sys.exit(done.returncode)
    shutil.rmtree(OUT, ignore_errors=True); built.rename(OUT)


if __name__ == "__main__": main()
