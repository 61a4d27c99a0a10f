"""Run the notebooks as tests, two at a time, and record what each takes.

    python tools/test_notebooks.py                      all of them, at scale quick
    python tools/test_notebooks.py nbs/api/core.ipynb   some

nbdev runs the cells. What it lacks is here: one thread for each worker, since two workers with two threads each are
three times as slow; the long notebooks first; a line as each ends; and seconds of processor time by notebook in
.cache/notebooks.json. tests/test_budget.py holds them against the budget below. Processor time too grows on a slow or a
busy machine, by up to twice; so a fixed piece of work is timed before and after each notebook, and the seconds recorded
are those of a machine that does it in STANDARD seconds."""
import json
import os
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from house import ROOT, notebooks

TIMES = ROOT/".cache"/"notebooks.json"
STANDARD = .25     # seconds of processor time that the work in `pace` takes on a quiet machine
EACH = 10          # seconds of processor time that a notebook may take at scale quick
LONGEST = 2400     # seconds by the clock, after which something hangs
TOGETHER = 400     # and all of them; 200 by the clock on two cores
LONGER = {         # those that teach by training have more, and the whole still has to fit
    "lessons/3_probe": 50, "lessons/4_adapters": 30, "lessons/5_curriculum": 80, "lessons/0_start_here": 30, "lessons/6_real_images": 20, "howto/own_images": 20, "howto/gpu": 35,
    "api/explore.curriculum": 30, "api/explore.pictures": 30, "api/explore.probe": 20, "api/frozen.pretrain": 20, "api/run.experiment": 15, "api/cli": 15,
}


def name(path): return path.relative_to(ROOT/"nbs").with_suffix("").as_posix()


def pace():
    "How slow the machine is at present: seconds of processor time of a fixed piece of work, by those of a quiet machine."
    import torch
    start = time.process_time()
    a = torch.ones(384, 384)
    for _ in range(200): a = torch.softmax(a@a, 1)
    for _ in range(100): json.loads(json.dumps([dict(a=i, b=str(i)) for i in range(1000)]))
    return (time.process_time()-start)/STANDARD


def run(path):
    "Whether every cell of a notebook ran, the seconds of processor time that it took at the standard pace, and the pace."
    os.chdir(ROOT)   # where nbdev finds its settings
    from nbdev.config import get_config
    from nbdev.test import test_nb
    pace()           # which loads torch
    before, start = pace(), time.process_time()
    passed, _ = test_nb(path, skip_flags=get_config().tst_flags.split(), basepath=ROOT)
    spent = time.process_time()-start
    slow = (before+pace())/2
    return passed, round(spent/slow, 1), slow


def main(paths):
    os.environ.update(OMP_NUM_THREADS="1", TQDM_DISABLE="1", CUFIT_SCALE=os.environ.get("CUFIT_SCALE", "quick"))   # for the workers, before they load torch
    started, times, failed, paces = time.monotonic(), {}, [], []
    then = json.loads(TIMES.read_text()) if TIMES.is_file() else LONGER
    import test_notebooks   # by this name: a notebook that runs takes the place of `__main__`
    with ProcessPoolExecutor(2) as pool:
        jobs = {pool.submit(test_notebooks.run, p): p for p in sorted(paths, key=lambda p: -then.get(name(p), 0))}
        for n, job in enumerate(as_completed(jobs, timeout=LONGEST), 1):
            path, (passed, seconds, slow) = jobs[job], job.result()
            times[name(path)] = seconds
            paces.append(slow)
            if not passed: failed.append(name(path))
            print(f"  [{n}/{len(jobs)}] {name(path)}: {seconds:.1f} s{'' if passed else ', FAILED'}", flush=True)
    if len(paths) == len(notebooks()) and os.environ["CUFIT_SCALE"] == "quick":
        TIMES.parent.mkdir(exist_ok=True); TIMES.write_text(json.dumps(times, indent=1)+"\n")
    print(f"{len(paths)-len(failed)} of {len(paths)} notebooks passed in {time.monotonic()-started:.0f} s ({sum(times.values()):.0f} s of processor time of a quiet machine; this one took {statistics.median(paces):.1f} times as long)")
    sys.exit(f"Failed: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__": main([Path(p).resolve() for p in sys.argv[1:]] or notebooks())
