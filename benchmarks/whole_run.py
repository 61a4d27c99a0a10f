"""A whole run, from image files on disk to a trained LAM: ours against the published loop fed by a DataLoader.

    python benchmarks/whole_run.py                                          pocket ViT on a CPU: shows that it works
    python benchmarks/whole_run.py --backbone vit_small_patch14_dinov2 --images 4000 --epochs 10 --precision bfloat16 --device cuda

Both start from the same JPEG files, labels and epochs, with random weights. Ours reads and resizes each file once, and
takes --precision; the yardstick is float32, decodes each file in every epoch, computes everything for every sample.
Neither is scored: both time what comes before the model is there."""
import tempfile
import time
from pathlib import Path

import torch
from common import facts, parser, ratio, record, table, wait
from feed import loader_of, write_images
from naive import NaiveCufit

from cufit.core import loss_scaler, matrix_precision
from cufit.sources.readers import from_folder
from cufit.frozen.backbone import load_backbone
from cufit.train.record import train_config
from cufit.train.optimizer import make_optimizer
from cufit.train.loop import train_epoch
from cufit.methods.curriculum import Cufit

COLUMNS = dict(backbone="backbone", images="images", epochs="epochs", precision="precision", seconds="seconds, ours", yardstick="seconds, published loop", speedup="times as fast", machine="machine", date="date")


def main():
    p = parser(__doc__, repeats=1)
    p.add_argument("--backbone", default="pocket_vit"); p.add_argument("--img-size", type=int, default=224); p.add_argument("--images", type=int, default=300); p.add_argument("--epochs", type=int, default=3)
    p.add_argument("--file-size", type=int, default=450); p.add_argument("--precision", default="float32"); p.add_argument("--workers", type=int, default=8); p.add_argument("--batch-size", type=int, default=32)
    args = p.parse_args()
    if args.table: return table("whole_run", COLUMNS)
    if args.threads: torch.set_num_threads(args.threads)
    vit = load_backbone(args.backbone, "random", None if args.backbone == "pocket_vit" else args.img_size, device=args.device)
    config, ours, theirs = train_config(epochs=args.epochs, batch_size=args.batch_size, precision=args.precision), [], []
    with tempfile.TemporaryDirectory() as folder:
        write_images(Path(folder)/"train", args.images, args.file_size)
        for split in ("val", "test"): write_images(Path(folder)/split, 9, args.file_size)
        def published():
            loader, naive = loader_of(Path(folder)/"train", args.batch_size, args.workers, vit), NaiveCufit(vit, 3)
            with matrix_precision("float32"):
                for _ in range(args.epochs):
                    for x, y in loader: naive.step(x.to(vit.device, non_blocking=True), y.to(vit.device, non_blocking=True))
        def cufit():
            train = from_folder(folder, round(vit.img_size*8/7)).train
            method = Cufit(vit, train.classes); opt = make_optimizer(method, config)
            scaler = loss_scaler(vit.device, args.precision)
            for epoch in range(args.epochs): train_epoch(method, train, config, epoch, opt, scaler=scaler)
        for _ in range(args.repeats):
            for f, times in ((cufit, ours), (published, theirs)):
                wait(vit.device); start = time.perf_counter(); f(); wait(vit.device); times.append(time.perf_counter()-start)
    mid, low, high = ratio(theirs, ours)
    row = dict(backbone=args.backbone, img_size=vit.img_size, images=args.images, epochs=args.epochs, precision=args.precision, seconds=f"{sorted(ours)[len(ours)//2]:.1f}", yardstick=f"{sorted(theirs)[len(theirs)//2]:.1f}", speedup=f"{mid:.2f}", low=f"{low:.2f}", high=f"{high:.2f}", repeats=args.repeats, workers=args.workers, **facts(vit.device))
    record("whole_run", [row], ("backbone", "img_size", "images", "epochs", "precision", "machine"))
    print(f"ours {row['seconds']} s, published loop {row['yardstick']} s: {mid:.2f}x ({low:.2f} to {high:.2f})")


if __name__ == "__main__": main()
