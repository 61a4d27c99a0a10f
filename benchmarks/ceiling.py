"""How well the drawn cells can be told apart at all: a convolutional network that learns from 20,000 of them.

No label is wrong and no weight is frozen, so this is the ceiling for everything else at pocket scale. The network is
plain (four stages of two 3x3 convolutions with batch normalisation), sees each cell turned and mirrored anew, and
learns by AdamW with one cycle of the learning rate. Writes a row a seed to `results/ceiling.csv`.

    python benchmarks/ceiling.py --threads 1
"""
import argparse
import shlex
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F
from common import facts, record, table
from torch import nn

from cufit.core import autocast, generator, global_seed, progress
from cufit.drawn.cells import CELL_CLASSES, draw_cells
from cufit.metrics import accuracy, balanced_accuracy


def network(classes, width):
    "Four stages, each half the side and twice the channels of the one before."
    def conv(a, b, stride=1): return [nn.Conv2d(a, b, 3, stride, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU()]
    layers, channels = conv(3, width), width
    for stage in range(4):
        layers += conv(channels, width*2**stage, 1 if stage == 0 else 2) + conv(width*2**stage, width*2**stage)
        channels = width*2**stage
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))


def turned(x, g):
    "Each image mirrored or not, and the batch turned by a right angle."
    x = torch.where(torch.rand(len(x), 1, 1, 1, generator=g) < .5, x.flip(3), x)
    return x.rot90(int(torch.randint(4, (), generator=g)), (2, 3))


def scaled(images): return (torch.from_numpy(images).float()/255 - .5)/.25


def train(args, seed):
    (x, y), (x_test, y_test) = (draw_cells(n, args.size, seed, stream=s) for n, s in ((args.cells, "ceiling"), (args.test, "ceiling test")))
    with global_seed(seed, "ceiling"): net = network(len(CELL_CLASSES), args.width).to(memory_format=torch.channels_last)
    g, steps = generator(seed, "ceiling"), len(x)//args.batch_size
    opt = torch.optim.AdamW(net.parameters(), args.lr, weight_decay=.05)
    cycle = torch.optim.lr_scheduler.OneCycleLR(opt, args.lr, total_steps=steps*args.epochs)
    for _ in progress(range(args.epochs), f"seed {seed}"):
        net.train()
        for rows in torch.randperm(len(x), generator=g)[:steps*args.batch_size].split(args.batch_size):
            with autocast(torch.device("cpu"), "bfloat16"): z = net(turned(scaled(x[rows]), g).contiguous(memory_format=torch.channels_last))
            opt.zero_grad(); F.cross_entropy(z.float(), torch.from_numpy(y[rows])).backward(); opt.step(); cycle.step()
    net.eval()
    with torch.no_grad():
        said = torch.cat([net(scaled(part)).argmax(1) for part in np.array_split(x_test, -(-len(x_test)//100))]).numpy()
    return accuracy(said, y_test), balanced_accuracy(said, y_test, len(CELL_CLASSES))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2]); p.add_argument("--threads", type=int, help="threads of PyTorch; all cores unless given")
    p.add_argument("--cells", type=int, default=20_000); p.add_argument("--test", type=int, default=2000); p.add_argument("--size", type=int, default=48)
    p.add_argument("--epochs", type=int, default=10); p.add_argument("--batch-size", type=int, default=64); p.add_argument("--lr", type=float, default=3e-3); p.add_argument("--width", type=int, default=32)
    p.add_argument("--table", action="store_true", help="print the table and stop")
    args = p.parse_args()
    if args.table: return table("ceiling", dict(cells="cells", seed="seed", epochs="epochs", accuracy="accuracy", balanced_accuracy="balanced accuracy", minutes="minutes", machine="machine", torch="torch", date="date", command="command"))
    if args.threads: torch.set_num_threads(args.threads)
    for seed in args.seeds:
        start = time.perf_counter(); right, balanced = train(args, seed)
        record("ceiling", [dict(seed=seed, cells=args.cells, size=args.size, epochs=args.epochs, lr=args.lr, width=args.width, n_test=args.test, accuracy=round(right, 4), balanced_accuracy=round(balanced, 4),
                                minutes=round((time.perf_counter()-start)/60, 1), **facts(), command=shlex.join(["python", *sys.argv]))], ("seed", "cells"))


if __name__ == "__main__": main()
