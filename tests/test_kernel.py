"Slow work in a Jupyter kernel: its bar makes no red box, and the reader can stop it."
import os
import re
from contextlib import contextmanager

from jupyter_client.manager import start_new_kernel

TRAIN = """from cufit.run.lesson import lesson_setup

lesson = lesson_setup('pocket', limit=100, epochs=10_000)
lesson.method('rein').fit(lesson.train, lesson.val, lesson.training)"""
WALK = "from cufit.core import progress\n\nprint(len(list(progress(range(3), delay=0))))"


@contextmanager
def kernel(**environment):
    """A kernel, as `run(code)`: the list of (stream, text) of all it says.

    `stop`, a pattern, interrupts it at the first text that matches, as JupyterLab's square button does."""
    manager, client = start_new_kernel(env={k: v for k, v in os.environ.items() if k != "TQDM_DISABLE"} | environment)
    def run(code, stop="(?!)"):
        asked, said = client.execute(code), []
        while True:
            message = client.get_iopub_msg(timeout=300)
            if message["parent_header"].get("msg_id") != asked: continue
            kind, content = message["msg_type"], message["content"]
            if kind == "status" and content["execution_state"] == "idle": return said
            if kind == "error": said.append(("error", content["ename"]))
            if kind == "stream":
                said.append((content["name"], content["text"]))
                if re.search(stop, content["text"]): stop = "(?!)"; manager.interrupt_kernel()
    try: yield run
    finally: client.stop_channels(); manager.shutdown_kernel(now=True)


def test_training_shows_a_bar_and_can_be_stopped():
    with kernel() as run:
        said = run(TRAIN, stop=r"\| [1-9]\d*/\d+")
        assert {stream for stream, _ in said} == {"stdout", "error"}
        assert said[-1] == ("error", "KeyboardInterrupt")
        assert run("print(len(lesson.train))") == [("stdout", "100\n")]


def test_the_bar_can_be_switched_off():
    with kernel(TQDM_DISABLE="1") as run: assert run(WALK) == [("stdout", "3\n")]
    with kernel() as run: assert "3/3" in "".join(text for stream, text in run(WALK) if stream == "stdout")
