"""What a run found: training images whose wrong labels the LAM was never trained on in the second half of the epochs, and such as it kept in all of them.

Reads a run folder of `noisy_labels.py` and writes `results/<name>.png`, the picture of the README. Above each image stands
the label it was given and in brackets the right one. Only for data whose licence allows to show images: PBC (Acevedo et al. 2020) is CC BY 4.0.

    python benchmarks/doubted.py runs/benchmark/pbc_late9-cufit-0.4-0 --data ../shared/data/pbc_blood_128.zip
"""
import argparse
from pathlib import Path

import numpy as np
from common import RESULTS

from cufit.core import read_json
from cufit.data.noise import NoiseRecord
from cufit.figure import figure_png, image_grid
from cufit.run.report import label_titles
from cufit.run.settings import load_splits, split_settings


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("run"); p.add_argument("--data", required=True); p.add_argument("--images-seed", type=int, default=0); p.add_argument("--name", default="doubted")
    args = p.parse_args()
    run = Path(args.run)
    config = read_json(run/"config.json")
    names = ("group", "limit", "img_size", "resize", "seed")
    train = load_splits(split_settings({k: config[k] for k in names} | dict(data=args.data))[0], config["img_size"], args.images_seed).train
    noise = NoiseRecord.load(run/"noise")
    if not np.array_equal(train.labels, noise.clean): raise SystemExit(f"{run} was trained on other images than {args.data} with --images-seed {args.images_seed}; give the seed of the run.")
    kept = np.load(run/"selection.npz")["trained"][:, -1]      # epochs x images, of the LAM
    found, missed = noise.flipped & ~kept[len(kept)//2:].any(0), noise.flipped & kept[len(kept)//2:].all(0)
    spread = lambda rows, n: rows[np.linspace(0, len(rows)-1, min(n, len(rows))).astype(int)]   # the file is sorted by class
    rows = np.concatenate([spread(np.flatnonzero(found), 6), spread(np.flatnonzero(missed), 6)])
    print(f"{noise.flipped.sum()} of {len(train)} labels are wrong; {found.sum()} of them were never kept in the second half of the epochs, {missed.sum()} always; {(~noise.flipped & ~kept[len(kept)//2:].any(0)).sum()} right ones were never kept")
    images = np.stack([train.images[i] for i in rows])
    (RESULTS/f"{args.name}.png").write_bytes(figure_png(image_grid(images, label_titles(noise, rows), columns=6, width=6., marks=[False]*6+[True]*(len(rows)-6)), colors=96, optimize=True))


if __name__ == "__main__": main()
