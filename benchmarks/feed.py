"""Feeding: images a second from memory, from a memory-mapped file, and from a plain torchvision DataLoader over image files.

    python benchmarks/feed.py

Ours: uint8 in memory, decoded and resized once (that time has a row of its own), flipped and cropped on the device, a
batch at a time; a mapped file of this size is in the system's cache. The yardstick decodes, resizes (bilinearly, ours
bicubically), flips and crops each file anew in every epoch, in as many worker processes as there are cores."""
import os
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from common import facts, in_turns, parser, ratio, record, table
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from cufit.core import generator
from cufit.data.sampling import epoch_batches
from cufit.sources.readers import from_folder
from cufit.sources.store import build_store, open_store
from cufit.frozen.backbone import load_backbone
from cufit.train.batch import Batch

COLUMNS = dict(what="what", images="images", rate="images a second (median)", ms="ms", over="times the DataLoader", low="lowest", high="highest", machine="machine", date="date")


def write_images(folder, n, size):
    "JPEG files of `size` pixels in three class folders; smooth noise, so that they compress like photographs."
    rng = np.random.default_rng(0)
    for i in range(n):
        small = Image.fromarray(rng.integers(0, 256, (size//8, size//8, 3), dtype=np.uint8))
        path = Path(folder)/"abc"[i % 3]/f"{i}.jpg"; path.parent.mkdir(parents=True, exist_ok=True)
        small.resize((size, size), Image.BICUBIC).save(path, quality=90)


def loader_of(folder, batch_size, workers, vit):
    "The yardstick: torchvision's folder reader and a DataLoader, at the backbone's input size."
    side = vit.img_size
    make = transforms.Compose([transforms.Resize((round(side*8/7),)*2), transforms.RandomHorizontalFlip(), transforms.RandomCrop(side), transforms.ToTensor(), transforms.Normalize((.485, .456, .406), (.229, .224, .225))])
    return DataLoader(datasets.ImageFolder(str(folder), make), batch_size, shuffle=True, num_workers=workers, persistent_workers=workers > 0, pin_memory=vit.device.type == "cuda")


def first_batch(folder, n, vit):
    "Seconds from an unopened store of `n` images to the first batch."
    rng = np.random.default_rng(0)
    source = Path(folder)/f"source{n}"
    for i in range(24): (source/"abc"[i % 3]).mkdir(parents=True, exist_ok=True); Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(source/"abc"[i % 3]/f"{i}.png")
    for i in range(24, n): (source/"abc"[i % 3]/f"{i}.png").hardlink_to(source/"abc"[i % 3]/f"{i % 24}.png")
    store = Path(folder)/f"store{n}"
    build_store(source, store, 64)
    def open_it():
        train = open_store(store).train
        return train.batch(torch.arange(32))
    return in_turns({n: open_it}, 5)[n]


def main():
    p = parser(__doc__)
    p.add_argument("--images", type=int, default=1200); p.add_argument("--file-size", type=int, default=450); p.add_argument("--batch-size", type=int, default=32); p.add_argument("--stores", type=int, nargs="*", default=[600, 6000, 60000], help="images in the stores whose opening is timed"); p.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())
    args = p.parse_args()
    if args.table: return table("feed", COLUMNS)
    if args.threads: torch.set_num_threads(args.threads)
    vit = load_backbone("deit_tiny_patch16_224", "random", device=args.device)
    with tempfile.TemporaryDirectory() as folder:
        write_images(Path(folder)/"images", args.images, args.file_size)
        start = time.perf_counter(); train = from_folder(Path(folder)/"images", 256).train
        once = (time.perf_counter()-start)
        np.save(Path(folder)/"images.npy", train.images)
        mapped = replace(train, images=np.load(Path(folder)/"images.npy", mmap_mode="r"))
        loader = loader_of(Path(folder)/"images", args.batch_size, args.workers, vit)
        def ours(data):
            gen = generator(0, "feed")
            for rows in epoch_batches(len(data), args.batch_size, gen): Batch(data, rows, vit, gen).x
        def theirs():
            for x, _ in loader: x.to(vit.device)
        check_same(train, vit)
        seconds = in_turns(dict(loader=theirs, memory=lambda: ours(train), mapped=lambda: ours(mapped)), args.repeats, vit.device)
        counts = dict(loader=args.images, memory=len(train), mapped=len(train))
        per_image = {k: [s/counts[k] for s in v] for k, v in seconds.items()}
        names = dict(loader=f"DataLoader over files, {args.workers} workers", memory="ours, in memory", mapped="ours, memory-mapped")
        rows = []
        for k, s in per_image.items():
            mid, low, high = ratio(per_image["loader"], s)
            rows.append(dict(what=names[k], images=counts[k], rate=f"{1/statistics.median(s):.0f}", over=f"{mid:.1f}", low=f"{low:.1f}", high=f"{high:.1f}", repeats=args.repeats, **facts(vit.device)))
            print(f"{names[k]:36} {rows[-1]['rate']:>6} images a second, {mid:.1f}x ({low:.1f} to {high:.1f})")
        rows.append(dict(what="ours, decoding and resizing once", images=args.images, rate=f"{args.images/once:.0f}", **facts(vit.device)))
        print(f"reading and resizing {args.images} files once: {once:.1f} s")
        for n in args.stores:
            s = statistics.median(first_batch(folder, n, vit))
            rows.append(dict(what="store, opened to first batch", images=n, ms=f"{1000*s:.1f}", **facts()))
            print(f"a store of {n} images: first batch of 32 after {1000*s:.1f} ms")
        record("feed", rows, ("what", "images", "machine"))


def check_same(train, vit):
    "Both normalise alike: the centre of an image through torchvision and through ours."
    image = torch.from_numpy(np.array(train.images[:2]))
    theirs = transforms.Normalize((.485, .456, .406), (.229, .224, .225))(image.float()/255)
    torch.testing.assert_close(vit.normalise(image).cpu(), theirs, atol=1e-5, rtol=0)


if __name__ == "__main__": main()
