"""Run the checks of the project, one after the other, saying what is done and how long it takes.

    python tools/run_tests.py           what a change has to pass: about ten minutes on two quiet cores   (make test)
    python tools/run_tests.py --rest    what takes longer: every lesson in a browser, Colab's versions     (make test-rest)

The first step that fails ends the run, since what follows would speak of other code."""
import os
import subprocess
import sys
import time

from house import ROOT, recorded

PYTEST = [sys.executable, "-m", "pytest", "-q", "-rs", "--timeout", "1800"]
LONGEST = [f"tests/test_{name}.py" for name in ("cli", "switches", "contracts", "check")]   # first, so that no worker begins one when the other has ended
STEPS = {
    "in sync, clean, in place": [sys.executable, "tools/check.py"],
    "the notebooks at scale quick": [sys.executable, "tools/test_notebooks.py"],
    "the tests": [*PYTEST, "-n", "2", "--dist", "loadfile", "--no-loadscope-reorder", *LONGEST, "tests", "--ignore", "tests/browser", "-m", "not slow"],
    "the site, a lesson and the widgets in a browser": [*PYTEST, "tests/browser", "-m", "not slow"],
}
REST = {
    "slow tests": [*PYTEST, "tests", "--ignore", "tests/browser", "-m", "slow"],
    "every page and every lesson in a browser": [*PYTEST, "tests/browser", "-m", "slow"],
}
ONE_THREAD = dict(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")   # beside anything else, another worker or another program, two threads that wait for each other are several times as slow


def told(seconds): return f"{seconds//60:.0f} min {seconds%60:02.0f} s"


def main(steps):
    started, took = time.monotonic(), {}
    for n, (what, command) in enumerate(steps.items(), 1):
        print(f"[{n}/{len(steps)}] {what}", flush=True)
        began = time.monotonic()
        done = subprocess.run(command, cwd=ROOT, env=os.environ | dict(CUFIT_SCALE="quick", CUFIT_RECORDED=str(recorded())) | ONE_THREAD)
        took[what] = time.monotonic()-began
        print(f"[{n}/{len(steps)}] {what}: {'passed' if not done.returncode else 'FAILED'} in {told(took[what])}", flush=True)
        if done.returncode: sys.exit(f"Failed after {told(time.monotonic()-started)}: {what}. To repeat this step alone: {' '.join(command).replace(str(ROOT)+'/', '')}")
    print(f"All passed in {told(time.monotonic()-started)}: {'; '.join(f'{what} {told(s)}' for what, s in took.items())}.")


if __name__ == "__main__": main(REST if "--rest" in sys.argv else STEPS)
