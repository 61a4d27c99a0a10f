"""The lessons in JupyterLab, and the widgets in Notebook 7, too, as a reader has them: run all cells and the solutions of the exercises, move every control, see numbers and picture change.

At scale quick, to be bearable. The scale of the lessons, about twenty minutes on two cores:
    CUFIT_SCALE=pocket .venv/bin/python -m pytest tests/browser/test_lab.py
Pictures of what was seen are left in tests/browser/screenshots."""
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import nbformat
import pytest
from lessons import LESSONS, ROOT, TRIED, WITH_WIDGETS, with_solutions

SCREENSHOTS = Path(__file__).parent/"screenshots"
SETTINGS = {"notebook-extension/tracker": dict(windowingMode="none"),   # every cell is in the page, seen or not
            "apputils-extension/notification": dict(fetchNews="false", checkForUpdates=False)}
RED_BOX = ".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.stderr']"   # what was written to stderr, and every traceback
SEEN = """panel => [[...panel.querySelectorAll('.widget-html, [alt], .widget-html a')].map(e => [e.innerText, e.getAttribute('alt'), e.title].join()).join('\\n'),
                    [...panel.querySelectorAll('img')].map(e => [e.src, e.offsetHeight].join()).join('\\n')]"""


def free_port():
    with socket.socket() as s: s.bind(("127.0.0.1", 0)); return s.getsockname()[1]


def wait_until_it_answers(address, server, log):
    for _ in range(600):
        assert server.poll() is None, f"JupyterLab ended: {log.read_text()[-3000:]}"
        try: return urllib.request.urlopen(f"{address}/api", timeout=5).read()
        except urllib.error.URLError: time.sleep(.2)
    pytest.fail(f"JupyterLab did not answer: {log.read_text()[-3000:]}")


@pytest.fixture(scope="module")
def lab_folder(tmp_path_factory):
    "A copy of the notebooks, with the solutions of the exercises as cells, and of the results they read."
    folder = tmp_path_factory.mktemp("lab")/"work"
    for name in ("nbs", "benchmarks"): shutil.copytree(ROOT/name, folder/name)
    for name in LESSONS:
        path = folder/"nbs"/f"{name}.ipynb"
        nbformat.write(with_solutions(nbformat.read(path, 4)), path)
    return folder


@pytest.fixture(scope="module")
def lab(chromium, lab_folder):
    "The address of a JupyterLab over a copy of the notebooks."
    folder = lab_folder.parent
    for name, values in SETTINGS.items():
        path = folder/"settings"/"@jupyterlab"/f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True); path.write_text(json.dumps(values))
    homes = {f"{n}_DIR": str(folder/n.lower()) for n in ("JUPYTER_CONFIG", "JUPYTER_RUNTIME", "JUPYTERLAB_WORKSPACES")}
    port, log = free_port(), folder/"log"
    with log.open("w") as out:
        server = subprocess.Popen([Path(sys.executable).parent/"jupyter", "lab", "--no-browser", "--allow-root", f"--port={port}", "--ServerApp.port_retries=0", "--IdentityProvider.token=",
                                   "--LabApp.expose_app_in_browser=True", "--JupyterNotebookApp.expose_app_in_browser=True", f"--ServerApp.root_dir={lab_folder}"], stdout=out, stderr=out, cwd=folder,
                                  env=os.environ | homes | dict(JUPYTERLAB_SETTINGS_DIR=str(folder/"settings"), CUFIT_SCALE=os.environ.get("CUFIT_SCALE", "quick")))
    try:
        wait_until_it_answers(f"http://127.0.0.1:{port}", server, log)
        yield f"http://127.0.0.1:{port}"
    finally: server.terminate(); server.wait(30)


@pytest.fixture
def notebook(lab, chromium):
    "`notebook(name)`: the page of a notebook all of whose cells were run, in JupyterLab or in Notebook 7."
    page = chromium.new_page(viewport=dict(width=1100, height=1000))
    def opened(name, place="lab/tree"):
        page.goto(f"{lab}/{place}/nbs/{name}.ipynb?reset", timeout=60_000)   # without what was open before
        page.wait_for_function("window.jupyterapp?.shell.currentWidget?.context?.sessionContext.session?.kernel?.status == 'idle'", timeout=120_000)
        page.evaluate("void jupyterapp.commands.execute('notebook:run-all-cells').finally(() => window.ran = true)")
        page.wait_for_function("window.ran", timeout=1_800_000, polling=500)
        return page
    yield opened
    page.evaluate("jupyterapp.serviceManager.sessions.shutdownAll()")
    page.close()


def keep(name, what):
    path = SCREENSHOTS/f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    what.screenshot(path=path)


def keep_whole(page, name):
    "The notebook from top to bottom in one picture; the browser draws no more than 16,384 pixels."
    height = page.evaluate("document.querySelector('.jp-WindowedPanel-outer').scrollHeight")
    page.set_viewport_size(dict(width=1100, height=min(16_000, height+150)))
    page.evaluate("document.querySelector('.jp-WindowedPanel-outer').scrollTop = 0")
    keep(name, page.locator(".jp-Notebook"))
    page.set_viewport_size(dict(width=1100, height=1000))


def next_option(select):
    "Another option; of several chosen ones, all but the last."
    several, here, options = select.evaluate("e => [e.multiple, [...e.selectedOptions].map(o => o.value), [...e.options].map(o => o.value)]")
    select.select_option(here[:-1] if several else options[(options.index(here[0])+1) % len(options)])


def next_step(handle):
    "With the mouse: in Notebook 7 the arrow keys belong to the notebook."
    at_end = handle.evaluate("e => 2*e.getAttribute('aria-valuenow') > +e.getAttribute('aria-valuemin') + +e.getAttribute('aria-valuemax')")
    track = handle.locator("xpath=ancestor::div[contains(@class, 'noUi-target')]")
    box = track.bounding_box()
    track.click(position=dict(x=box["width"]*(.2 if at_end else .8), y=box["height"]/2))


def next_number(field):
    then = str(int(field.input_value())+1)
    field.fill(""); field.press_sequentially(then); field.press("Enter")


def next_button(group): group.locator("button:not(.mod-active)").first.click()
def next_radio(group): group.locator("input:not(:checked)").first.click()


MOVES = {".noUi-handle": next_step, "select": next_option, "input[type=number]": next_number, ".widget-toggle-buttons": next_button,
         ".widget-radio-box": next_radio, "input[type=checkbox]": lambda box: box.click(), ".widget-toggle-button": lambda button: button.click(),
         ".widget-play": lambda play: play.locator("button").first.click()}


def move_everything(page, panel, name):
    "Move each control that is there and not greyed out; each time the words of the panel and its picture have to become others."
    moved = 0
    for selector, move in MOVES.items():
        for i in range(panel.locator(selector).count()):
            control = panel.locator(selector).nth(i)
            if control.evaluate("e => e.closest('[disabled]') != null || !e.offsetHeight"): continue
            words, picture = panel.evaluate(SEEN)
            assert words and picture
            move(control)
            try: page.wait_for_function(f"([panel, words, picture]) => {{ const now = ({SEEN})(panel); return now[0] != words && now[1] != picture; }}",
                                        arg=[panel.element_handle(), words, picture], timeout=30_000)
            except Exception as e: raise AssertionError(f"{name}, {selector} number {i+1}: the picture or its words stayed as they were") from e
            if selector == ".widget-play": move(control)   # and pause
            moved += 1
    return moved


QUICK = {"lessons/2_noise", "api/explore.probe", "api/explore.curriculum", "api/explore.runs"}   # a lesson, and each widget once


@pytest.mark.parametrize("name, place", [*(pytest.param(n, "lab/tree", marks=[] if n in QUICK else pytest.mark.slow) for n in TRIED),
                                         *(pytest.param(n, "notebooks", marks=pytest.mark.slow) for n in WITH_WIDGETS if n.startswith("api/"))])
def test_a_notebook_runs_and_its_widgets_answer(notebook, name, place):
    page, seen = notebook(name, place), name if place == "lab/tree" else f"{name}_notebook7"
    keep_whole(page, seen)
    assert page.locator(RED_BOX).all_inner_texts() == []
    prompts = page.locator(".jp-CodeCell .jp-InputPrompt").all_inner_texts()
    assert prompts and all(p.strip("[]:").isdigit() for p in prompts), prompts
    panels = page.locator(".jp-OutputArea-output:has(> .jupyter-widgets)")
    if name in WITH_WIDGETS: panels.first.wait_for()
    for i in range(panels.count()):
        panel = panels.nth(i); panel.scroll_into_view_if_needed()
        keep(f"{seen}_widget{i+1}_before", panel)
        assert move_everything(page, panel, seen) > 1
        keep(f"{seen}_widget{i+1}_after", panel)


@pytest.mark.slow
def test_errors_and_red_boxes_would_be_seen(notebook, lab_folder):
    sources = ("import sys\nprint('red', file=sys.stderr)", "1/0")
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(s) for s in sources], metadata=dict(kernelspec=dict(name="python3", display_name="python3")))
    nbformat.write(nb, lab_folder/"nbs"/"wrong.ipynb")
    page = notebook("wrong")
    said, traceback = page.locator(RED_BOX).all_inner_texts()
    assert said == "red\n" and "ZeroDivisionError" in traceback
