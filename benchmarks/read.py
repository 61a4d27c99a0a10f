"""Reading 20,000 image files: a folder of classes, a table and an archive, against torchvision's folder reader.

    python benchmarks/read.py

Listing is all that is done before a pixel is decoded: files found, checked and put into splits. Reading is listing and
decoding. The yardstick lists with torchvision's `ImageFolder` and decodes the same files with Pillow on as many threads."""
import os
import statistics
import tempfile
import warnings
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from common import facts, in_turns, parser, ratio, record, table
from PIL import Image
from torchvision import datasets

from cufit.sources.readers import list_source, load

COLUMNS = dict(what="what", files="files", seconds="seconds (median)", over="times the yardstick", low="lowest", high="highest", machine="machine", date="date")


def write_files(top, n, size):
    "The same pictures as class folders, as a table of them, and in an archive."
    rng = np.random.default_rng(0)
    names = [f"{'abcdefgh'[i % 8]}/P{i//4}_{i}.png" for i in range(n)]
    for name in names:
        path = top/"folder"/name; path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (size, size, 3), dtype=np.uint8)).save(path, compress_level=1)
    pd.DataFrame(dict(image=names, label=[x[0] for x in names])).to_csv(top/"table.csv", index=False)
    with zipfile.ZipFile(top/"archive.zip", "w") as z:
        for name in names: z.write(top/"folder"/name, name)


def main():
    p = parser(__doc__)
    p.add_argument("--files", type=int, default=20000); p.add_argument("--file-size", type=int, default=48)
    args = p.parse_args()
    if args.table: return table("read", COLUMNS)
    warnings.simplefilter("ignore")   # of validation drawn from train, and the like
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder)
        write_files(top, args.files, args.file_size)
        sources = dict(folder=(top/"folder", {}), table=(top/"table.csv", dict(root=top/"folder")), archive=(top/"archive.zip", {}))
        def theirs(read):
            files = datasets.ImageFolder(str(top/"folder")).samples
            if not read: return
            out = np.empty((len(files), 3, args.file_size, args.file_size), np.uint8)
            def one(i): out[i] = np.asarray(Image.open(files[i][0]).convert("RGB")).transpose(2, 0, 1)
            with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool: list(pool.map(one, range(len(files))))
        for read in (False, True):
            def ours(source, options): load(source, args.file_size, **options) if read else list_source(source, args.file_size, **options)
            ways = {name: (lambda s=s, o=o: ours(s, o)) for name, (s, o) in sources.items()} | dict(yardstick=lambda: theirs(read))
            times = in_turns(ways, args.repeats)
            what, rows = "read" if read else "list", []
            for name in ways:
                mid, low, high = ratio(times[name], times["yardstick"])
                rows.append(dict(what=f"{what}: {name}", files=args.files, seconds=f"{statistics.median(times[name]):.2f}", over=f"{mid:.2f}", low=f"{low:.2f}", high=f"{high:.2f}", repeats=args.repeats, **facts()))
                print(f"{rows[-1]['what']:16} {rows[-1]['seconds']:>6} s, {mid:.2f} of the yardstick ({low:.2f} to {high:.2f})")
            record("read", rows, ("what", "files", "machine"))


if __name__ == "__main__": main()
