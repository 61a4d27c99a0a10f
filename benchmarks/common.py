"""What the benchmarks share: the machine's name, timing in turns, and the files of results."""
import argparse
import csv
import platform
import statistics
import time
from datetime import date
from pathlib import Path

import timm
import torch
from threadpoolctl import threadpool_limits

RESULTS = Path(__file__).parent/"results"
CLOCKS = dict(wall=time.perf_counter, processor=time.process_time)
measured = "wall"   # what `clock` reads; --processor-time changes it


def clock():
    "Seconds of the clock, or of the processors at work for this process."
    return CLOCKS[measured]()


def machine(device="cpu"):
    "The GPU, or the processor and the threads that PyTorch uses."
    if torch.device(device).type == "cuda": return torch.cuda.get_device_name(device)
    info = Path("/proc/cpuinfo")
    names = [l.split(":")[1].strip() for l in info.read_text().splitlines() if l.startswith("model name")] if info.exists() else []
    return f"{names[0] if names else platform.processor()}, {torch.get_num_threads()} thread{'s'*(torch.get_num_threads() > 1)}" + (", processor time" if measured == "processor" else "")


def options_of(method, given):
    "Those of `given`, texts such as 'begins=9', that the method has: the linear probe has no block to begin at."
    from cufit.train.contract import all_methods
    return tuple(o for o in given if o.partition("=")[0] in all_methods()[method].options)


def facts(device="cpu"):
    "What every row of results ends with."
    return dict(machine=machine(device), torch=torch.__version__, timm=timm.__version__, date=date.today().isoformat())


def wait(device):
    if torch.device(device).type == "cuda": torch.cuda.synchronize(device)


def in_turns(variants, repeats, device="cpu"):
    """Seconds of each variant, `repeats` times, in turns: what slows the machine down hits all of them alike.

    `variants` maps a name to a function without arguments; each is called once before, untimed."""
    for f in variants.values(): f()
    seconds = {n: [] for n in variants}
    order = list(variants)
    for r in range(repeats):
        for name in order[r % len(order):] + order[:r % len(order)]:
            wait(device); start = clock()
            variants[name]()
            wait(device); seconds[name].append(clock()-start)
    return seconds


def ratio(slow, fast):
    "Median of the pairwise ratios of two lists of seconds, their lowest and their highest."
    found = sorted(a/b for a, b in zip(slow, fast))
    return statistics.median(found), found[0], found[-1]


def record(name, rows, keys):
    "Write rows to `results/<name>.csv`; a row with the same `keys` is replaced."
    path = RESULTS/f"{name}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    old = list(csv.DictReader(path.open())) if path.is_file() else []
    rows = [{k: str(v) for k, v in r.items()} for r in rows]
    same = lambda a, b: all(a.get(k, "") == b.get(k, "") for k in keys)
    kept = [r for r in old if not any(same(r, n) for n in rows)]
    columns = list(dict.fromkeys(k for r in kept+rows for k in r))
    with path.open("w", newline="") as f:
        writer = csv.DictWriter(f, columns, restval=""); writer.writeheader(); writer.writerows(kept+rows)
    return path


def table(name, columns, by=()):
    "The results as Markdown: a table of the named columns for each set of values of `by`; what is the same in all its rows stands above it."
    if not (RESULTS/f"{name}.csv").is_file(): return print("No figure has been recorded yet.")
    rows = [{c: f"`{v}`" if "--" in v else v for c, v in r.items()} for r in csv.DictReader((RESULTS/f"{name}.csv").open())]   # two hyphens become a dash on a page
    for values in dict.fromkeys(tuple(r[b] for b in by) for r in rows):
        part = [r for r in rows if tuple(r[b] for b in by) == values]
        found = {c: {r.get(c) or "-" for r in part} for c in columns if c not in by}
        same = [c for i, c in enumerate(found) if len(found[c]) == 1 and len(part) > 1 and i]
        facts = [f"{columns[c]} {next(iter(found[c]))}" for c in same if found[c] != {"-"}]
        if by or facts: print((f"**{', '.join(values)}**" + ": "*bool(facts) if by else "") + ", ".join(facts) + "\n")
        kept = [c for c in found if c not in same]
        print(f"| {' | '.join(columns[c] for c in kept)} |\n|{' --- |'*len(kept)}")
        for r in part: print(f"| {' | '.join(r.get(c) or '-' for c in kept)} |")
        print()


class ProcessorTime(argparse.Action):
    "Count the seconds that processors spent on this process: on a quiet machine those of the clock times the threads at work, and on a crowded one hardly different."
    def __call__(self, *args):
        global measured
        measured = "processor"
        torch.set_num_threads(1)
        threadpool_limits(1)   # NumPy and scikit-learn too


def parser(doc, **defaults):
    "Options that all benchmarks have."
    p = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--device", default="auto"); p.add_argument("--threads", type=int, help="threads of PyTorch; all cores unless given")
    p.add_argument("--repeats", type=int, default=defaults.get("repeats", 5)); p.add_argument("--table", action="store_true", help="print the table and stop")
    p.add_argument("--processor-time", nargs=0, action=ProcessorTime, help="one thread, timed by the processor seconds it got: for machines on which others compute")
    return p
