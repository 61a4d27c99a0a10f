"""The exact training step of two versions of this project, in turns: what a change of the loop costs.

    git worktree add ../before v0.1.0
    python benchmarks/against.py ../before

Each version runs in a process of its own, as its `train_epoch` does: images in memory, augmentation, CUFIT's exact step,
update. They take turns, epoch by epoch, and the processor time of an epoch is compared. Random images and weights:
time does not depend on them. The weights behind the last epoch are compared too; where they are the same bits, the
versions did the same work."""
import os
import statistics
import subprocess
import sys
from pathlib import Path

from common import facts, parser, ratio, record, table

COLUMNS = dict(before="version before", backbone="backbone", batch_size="batch", steps="steps an epoch", ms="ms a step (median)", ratio="times the step before", low="lowest", high="highest", bits="weights", machine="machine", date="date")

WORKER = '''
import sys, time, numpy as np, torch
from cufit.core import array_sha256
from cufit.data.imageset import ImageSet
from cufit.frozen.backbone import load_backbone
from cufit.methods.curriculum import Cufit
try: from cufit.train import loop, record
except ImportError: from cufit.methods import loop, record   # versions before the wing `train`
train_config = record.train_config
name, size, batch, steps = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
torch.set_num_threads(1)
rng = np.random.default_rng(0); n = batch*steps
data = ImageSet(rng.integers(0, 256, (n, 3, size+8, size+8), dtype=np.uint8), rng.integers(0, 8, n), np.arange(n), tuple("abcdefgh"))
vit = load_backbone(name, "random", None if name == "pocket_vit" else size)
method, config = Cufit(vit, data.classes), train_config(batch_size=batch, epochs=10**6)
method.prepare(data, config)
opt = loop.make_optimizer(method, config)   # the loop imports it, wherever it lives
for epoch, line in enumerate(sys.stdin):
    start = time.process_time()
    loop.train_epoch(method, data, config, epoch, opt)
    took = time.process_time()-start
    print(took, array_sha256(*[p.detach().numpy() for p in method.modules.parameters()]), flush=True)
'''


def worker(root, args):
    return subprocess.Popen([sys.executable, "-c", WORKER, args.backbone, str(args.img_size), str(args.batch_size), str(args.steps)], cwd=root, env=os.environ | {"PYTHONPATH": str(root)}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def main():
    p = parser(__doc__)
    p.add_argument("before", nargs="?", type=Path, help="a checkout of the other version")
    p.add_argument("--name", help="what it is called in the table; its commit unless given")
    p.add_argument("--backbone", default="deit_tiny_patch16_224"); p.add_argument("--img-size", type=int, default=224)
    p.add_argument("--batch-size", type=int, default=16); p.add_argument("--steps", type=int, default=2)
    args = p.parse_args()
    if args.table: return table("against", COLUMNS, by=("machine",))
    import torch
    torch.set_num_threads(1)   # as the workers have
    here = Path(__file__).parents[1]
    pair = [worker(root.resolve(), args) for root in (args.before, here)]
    seconds, bits = ([], []), [None, None]
    for turn in range(args.repeats+1):
        for i in (0, 1) if turn % 2 else (1, 0):
            pair[i].stdin.write("go\n"); pair[i].stdin.flush()
            took, bits[i] = pair[i].stdout.readline().split()
            if turn: seconds[i].append(float(took))   # the first one warms up
    for process in pair: process.stdin.close(); process.wait()
    mid, low, high = ratio(seconds[1], seconds[0])
    name = args.name or subprocess.run(["git", "describe", "--always", "--tags"], cwd=args.before, capture_output=True, text=True).stdout.strip()
    row = dict(before=name, backbone=args.backbone, batch_size=args.batch_size, steps=args.steps, repeats=args.repeats, ms=f"{1000*statistics.median(seconds[1])/args.steps:.1f}", ratio=f"{mid:.3f}", low=f"{low:.3f}", high=f"{high:.3f}", bits="same bits" if bits[0] == bits[1] else "differ", **facts())
    row["machine"] += ", processor time"
    record("against", [row], ("before", "backbone", "batch_size", "machine"))
    print(f"{args.backbone}: {row['ms']} ms a step, {row['ratio']} times that of {name} ({row['low']} to {row['high']}), {row['bits']}")


if __name__ == "__main__": main()
