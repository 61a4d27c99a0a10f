"""The house: its wings and rooms in their one order, and the notebooks that they are made from.

A room is a module and its notebook. It imports only rooms that stand before it here. The test of that order, the site,
its sidebar and every script that walks the notebooks read this file, and nothing else."""
import hashlib
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
MOST_LINES = 400   # of a room, as exported
PARTS = dict(lessons="Lessons", howto="How-to", lookup="Look up", neighbours="Neighbours", api="Reference")   # folders of nbs/, in the reader's order


@dataclass(frozen=True)
class Wing:
    "Rooms that know about one thing."
    name: str    # folder of the package; empty for rooms that stand in none
    rooms: str   # their names, in order
    about: str   # what the wing knows
    goes: str    # what a newcomer would put there


HOUSE = (
    Wing("", "core figure plot metrics", "seeds, devices, errors, files; colours and grids of images; drawings of numbers; scores", "what several wings need"),
    Wing("data", "images sampling checks imageset structure noise prior", "what a training set is",
         "a rule about patients: `sampling` if it draws splits, `checks` if it refuses them; a kind of label noise: `noise`, or `structure` if it follows the images; how frequent classes are: `prior`"),
    Wing("sources", "files listing reading tables readers download catalog store", "where a training set comes from",
         "a public data set to download: `catalog`; a layout of folders: `files`; a kind of table: `tables`; another format: `readers`"),
    Wing("drawn", "cells", "pictures that the package draws, each set with its truth", "another set of drawn pictures: a room of its own"),
    Wing("frozen", "weights model cnn backbone cache features solved pretrain", "the frozen model", "a kind of backbone: `backbone` if it has tokens, else `cnn`; what is kept of its passes: `features`; where it is kept: `cache`; what is solved on it: `solved`"),
    Wing("train", "record optimizer batch loop contract", "how training goes, and what a method has to bring", "what a method reads of a row, or remembers of it: `batch`; a setting of training: `record`, and `optimizer` or `loop`"),
    Wing("methods", "probe clean adapters tuners full robust twins curriculum ablation", "the methods, and the adapters that they take", "an adapter: `tuners`; another method: a room of its own"),
    Wing("run", "settings cost report results experiment grid compare lesson protocol", "from settings to a folder with everything in it", "a setting of a run: `settings`, and its option in `cli`; a picture of the report: `report`"),
    Wing("audit", "", "what is wrong with the data", "a check of images and labels, a list of labels to look at again"),
    Wing("neighbours", "", "methods for medical images beside label noise", "a neighbouring method: a room of its own"),
    Wing("explore", "pictures cost panel noise probe curriculum runs", "figures of the lessons, and widgets", "a figure of a lesson: `pictures`; what a step costs: `cost`; a widget: a room of its own, made with `panel`"),
    Wing("", "cli", "the command `cufit`", "a command or an option"),
)


def rooms():
    "Full names of all rooms, in order: `core`, ..., `data.images`, ..., `cli`."
    return [f"{wing.name}.{room}".lstrip(".") for wing in HOUSE for room in wing.rooms.split()]


def notebooks(root=ROOT):
    "Every notebook, in the reader's order: the home page, lessons, how-tos, neighbours, then the rooms of the house."
    order = {f"{name}.ipynb": i for i, name in enumerate(rooms())}
    def place(path):
        inside = path.relative_to(root/"nbs")
        part = list(PARTS).index(inside.parts[0]) if inside.parts[0] in PARTS else -1
        number = re.match(r"\d+", path.name)
        return part, int(number[0]) if number else order.get(path.name, len(order)), inside.as_posix()
    return sorted((p for p in (root/"nbs").rglob("*.ipynb") if not any(part.startswith(".") for part in p.relative_to(root).parts)), key=place)


def exports(path):
    "The room that a notebook exports, such as `data.noise`; None where it exports none."
    found = re.search(r'"#\| default_exp ([\w.]+)', path.read_text())
    return found[1] if found else None


def modules(root=ROOT):
    "Room -> its notebook, in the order of the house."
    made = {name: path for path in notebooks(root) if (name := exports(path))}
    return {name: made[name] for name in rooms() if name in made} | {name: path for name, path in made.items() if name not in rooms()}


def module_files(root=ROOT):
    "Room -> its file in the package, whether or not a notebook stands behind it."
    files = sorted(p for p in (root/"cufit").rglob("*.py") if p.name not in ("__init__.py", "_modidx.py") and "__pycache__" not in p.parts)
    return {".".join(p.relative_to(root/"cufit").with_suffix("").parts): p for p in files}


def recorded(root=ROOT):
    """The folder for runs that notebooks share (`Lesson.recorded`), which belongs to the very code that is there now.

    Folders of other versions are removed."""
    code = hashlib.sha256(b"".join(p.read_bytes() for p in sorted((root/"cufit").rglob("*")) if p.is_file() and "__pycache__" not in p.parts)).hexdigest()[:16]
    home = root/".cache"/"recorded"
    for other in home.glob("*") if home.is_dir() else ():
        if other.name != code: shutil.rmtree(other, ignore_errors=True)
    (home/code).mkdir(parents=True, exist_ok=True)
    return home/code


def faults(root=ROOT):
    "What is wrong with the house: rooms without a notebook, a module or a place, and those that have grown too long."
    made, files, all_made = modules(root), module_files(root), {}
    for path in notebooks(root):
        inside = path.relative_to(root)
        if exports(path): all_made.setdefault(exports(path), []).append(inside.as_posix())
        if inside.parts[1] not in PARTS and inside.as_posix() != "nbs/index.ipynb": yield f"{inside} stands in none of nbs/{', nbs/'.join(PARTS)}"
    for name, paths in all_made.items():
        if len(paths) > 1: yield f"{name} is exported by {' and '.join(paths)}: a room has one notebook"
    for name in files.keys()-made.keys(): yield f"cufit/{name.replace('.', '/')}.py has no notebook: remove it, or write nbs/api/{name}.ipynb"
    for name in made.keys()-files.keys(): yield f"{made[name].relative_to(root)} exports {name}, but there is no such module: run nbdev_export"
    for name in made.keys()-set(rooms()): yield f"{made[name].relative_to(root)} exports {name}, which has no place in tools/house.py"
    for name in set(rooms())-made.keys(): yield f"tools/house.py names the room {name}, but no notebook exports it"
    for path in notebooks(root):
        if path.parent.name == "api" and path.stem != exports(path): yield f"{path.relative_to(root)} exports {exports(path)}; a notebook of nbs/api has the name of its module"
    for name, path in files.items():
        lines = len(path.read_text().splitlines())
        if lines > MOST_LINES: yield f"{path.relative_to(root)} has {lines} lines; a room has at most {MOST_LINES}. Split it by its subjects"
