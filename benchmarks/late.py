"""A whole run of late adapters on kept tokens, from image files to the LAM, against the published loop on the same images.

    python benchmarks/late.py --data ../shared/data/pbc_blood_128.zip --weights ../shared/weights/deit_tiny_patch16_224_fp16.safetensors

Ours reads the images, computes the tokens of K views and of validation, trains all epochs and scores validation after
each. The published loop reads the same images and does the same validation, with the LAM; of its epochs, which are all
alike, `--published-epochs` are timed, and their median counts for the others. Nothing is watched. What the line before the
run foretells is recorded beside what it took."""
import statistics
import tempfile

import torch
from common import clock, facts, machine, parser, record, table, wait
from naive import NaiveCufit, class_token

from cufit.core import generator, matrix_precision
from cufit.data.images import center_crop, flip_crop
from cufit.frozen.backbone import load_backbone
from cufit.methods.curriculum import Cufit
from cufit.train.record import train_config
from cufit.run.cost import estimate
from cufit.run.settings import add_noise, load_splits, split_settings

COLUMNS = dict(begins="from block", views="views", minutes="minutes, reading included", reading="reading", run="without it", foretold="foretold", kept_gb="GB kept", published="published loop, minutes", speedup="times as fast")


def read(args, size):
    config, _ = split_settings(dict(data=args.data, group=args.group, limit=args.images, noise=args.noise, img_size=args.img_size))
    train, val, _ = add_noise(load_splits(config, size), config)
    return train, val


def published(args, vit, train, val):
    "Seconds of each timed epoch, validation included."
    naive, found = NaiveCufit(vit, len(train.classes)), []
    lam = naive.parts["lam"]
    with matrix_precision("float32"):
        for epoch in range(args.published_epochs):
            start, g = clock(), generator(0, "published", epoch)
            for rows in torch.randperm(len(train), generator=g).split(32):
                naive.step(vit.normalise(flip_crop(train.batch(rows), vit.img_size, g)).to(vit.device), torch.from_numpy(train.labels[rows.numpy()]).to(vit.device))
            with torch.no_grad():
                for rows in torch.arange(len(val)).split(128): lam.head(class_token(naive.tuned, vit.normalise(center_crop(val.batch(rows), vit.img_size)).to(vit.device), lam.adapter))
            wait(vit.device); found.append(clock()-start)
            print(f"published loop, epoch {epoch+1}: {found[-1]:.0f} s", flush=True)
    return found


def ours(args, vit, train, val, begins):
    "Seconds of a run, and what was foretold."
    method, config = Cufit(vit, train.classes, begins=begins, tokens=args.views), train_config(epochs=args.epochs, batch_size=32)
    with tempfile.TemporaryDirectory() as folder:
        method.cache = folder
        cost, start = estimate(method, train, val, config), clock()
        print(cost, flush=True)
        method.fit(train, val, config)
        wait(vit.device)
        return clock()-start, 60*cost.minutes, cost.kept_gb


def main():
    p = parser(__doc__, repeats=1)
    p.add_argument("--data"); p.add_argument("--group"); p.add_argument("--weights"); p.add_argument("--backbone", default="deit_tiny_patch16_224"); p.add_argument("--img-size", type=int, default=224)
    p.add_argument("--images", type=int, default=1600); p.add_argument("--noise", type=float, default=0.4); p.add_argument("--epochs", type=int, default=30); p.add_argument("--views", type=int, default=8)
    p.add_argument("--begins", type=int, nargs="+", default=[9, 6]); p.add_argument("--published-epochs", type=int, default=2)
    args = p.parse_args()
    if args.table: return table("late", COLUMNS, by=("data", "backbone", "machine"))
    if args.threads: torch.set_num_threads(args.threads)
    vit = load_backbone(args.backbone, args.weights, args.img_size, device=args.device)
    start = clock(); train, val = read(args, vit.img_size); reading = clock()-start
    theirs = reading + args.epochs*statistics.median(published(args, vit, train, val))
    for begins in args.begins:
        seconds, foretold, kept = ours(args, vit, train, val, begins)
        row = dict(data=args.data.rsplit("/", 1)[-1], backbone=args.backbone, images=len(train), validation=len(val), epochs=args.epochs, begins=begins, views=args.views, minutes=f"{(reading+seconds)/60:.1f}", run=f"{seconds/60:.1f}", foretold=f"{foretold/60:.1f}", reading=f"{reading/60:.1f}", kept_gb=f"{kept:.2f}", published=f"{theirs/60:.1f}", speedup=f"{theirs/(reading+seconds):.2f}", published_epochs=args.published_epochs, **facts(vit.device))
        record("late", [row], ("data", "backbone", "begins", "views", "epochs", "machine"))
        print(f"late {begins}: {row['minutes']} minutes ({row['run']} without reading, {row['foretold']} foretold), published loop {row['published']}: {row['speedup']}x", flush=True)
    print(machine(vit.device))


if __name__ == "__main__": main()
