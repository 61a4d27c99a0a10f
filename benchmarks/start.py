"""How long the command line and the package take to start: whole processes, in turns.

    python benchmarks/start.py"""
import statistics
import subprocess
import sys
from pathlib import Path

from common import facts, in_turns, parser, ratio, record, table

COLUMNS = dict(what="what", seconds="seconds (median)", yardstick="yardstick", over="times the yardstick", low="lowest", high="highest", machine="machine", date="date")


def main():
    args = parser(__doc__).parse_args()
    if args.table: return table("start", COLUMNS)
    python = lambda code: [sys.executable, "-c", code]
    commands = {"import torch, timm": python("import torch, timm"), "import cufit": python("import cufit"), "import cufit.run.experiment": python("import cufit.run.experiment"),
                "cufit --help": [str(Path(sys.executable).parent/"cufit"), "--help"]}
    run = lambda c: subprocess.run(c, check=True, stdout=subprocess.DEVNULL)
    seconds = in_turns({n: (lambda c=c: run(c)) for n, c in commands.items()}, args.repeats)
    rows = []
    for name, s in seconds.items():
        mid, low, high = ratio(s, seconds["import torch, timm"])
        rows.append(dict(what=name, seconds=f"{statistics.median(s):.2f}", yardstick="import torch, timm", over=f"{mid:.2f}", low=f"{low:.2f}", high=f"{high:.2f}", repeats=args.repeats, **facts()))
        print(f"{name:24} {rows[-1]['seconds']} s, {mid:.2f} ({low:.2f} to {high:.2f}) of `import torch, timm`")
    record("start", rows, ("what", "machine"))


if __name__ == "__main__": main()
