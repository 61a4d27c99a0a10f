"Grids: what is there stays, what was killed goes on to the same table, and several processes never train one run twice."
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from cufit.core import CufitError
from cufit.run.compare import Lease, compare, train_one, waves
from cufit.run.experiment import train_run
from cufit.run.grid import grid_runs, read_grid, run_hash
from cufit.methods.adapters import AdapterTuning
from cufit.run.results import recorded_runs
from cufit.run.settings import method_options, split_settings
from cufit.train.contract import METHODS, load_method

GRID = dict(data="cells", limit=48, epochs=3, lr=1e-2, method=["linear", "cufit"], noise=0.4, seed=[0, 1], linear=dict(views=2), checkpoint_seconds=0)


def quiet(line): pass


def same(a, b):
    for k in ("seconds",): a, b = a.drop(columns=k), b.drop(columns=k)
    pd.testing.assert_frame_equal(a, b)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    out = tmp_path_factory.mktemp("whole")
    return out, compare(GRID, out, say=quiet)


def test_a_grid_that_was_killed_goes_on_to_the_same_table(whole, dies, tmp_path):
    with dies(3), pytest.raises(KeyboardInterrupt): compare(GRID, tmp_path, say=quiet)
    assert not list(tmp_path.rglob("metrics.json")) and list(tmp_path.rglob("resume.safetensors")) and not list(tmp_path.rglob("lease.json"))
    same(compare(GRID, tmp_path, say=quiet), whole[1])


def test_what_is_there_is_not_run_again_and_another_version_is_named(whole, tmp_path):
    out, table = whole
    written = {f: f.stat().st_mtime_ns for f in out.rglob("*") if f.is_file() and f.parent != out and "cache" not in f.parts}
    file = next(out.rglob("metrics.json")); then = file.read_text()
    file.write_text(json.dumps(json.loads(then) | dict(version="0.0.1")))
    lines = []
    again = compare(GRID, out, say=lines.append)
    assert "another version: 0.0.1" in lines[-1] and sorted(again.version) == ["0.0.1", *table.version[1:]]
    file.write_text(then)
    assert {f for f, t in written.items() if f.stat().st_mtime_ns != t} == {file}
    frame = pd.read_csv(out/"results.csv")
    assert len(frame) == 4 and {"balanced_accuracy", "last_balanced_accuracy", "recall", "run"} <= set(frame)


def test_the_table_of_a_grid_reads_as_its_folders_do(whole, tmp_path):
    (tmp_path/"grid_mine.csv").write_bytes((whole[0]/"results.csv").read_bytes())
    tables = [recorded_runs(f).sort_values(["method", "seed"], ignore_index=True).drop(columns=["source", "curves"]) for f in (tmp_path, whole[0])]
    tables[0]["setting"] = tables[0].setting.str.removeprefix("grid_mine: ")
    pd.testing.assert_frame_equal(*tables)
    assert {"linear, 2 views", "cufit"} == set(tables[0].method) and tables[0].noise.eq(.4).all()


def test_the_true_noise_rate_is_no_part_of_a_methods_name_but_a_wrong_one_is(tmp_path):
    compare(dict(data="cells", limit=48, epochs=1, method="coteaching", adapter="none", noise=.4, rate=[.4, .3]), tmp_path, say=quiet)
    assert set(recorded_runs(tmp_path).method) == {"coteaching", "coteaching, rate=0.3"}


@pytest.mark.slow
def test_a_method_that_a_notebook_defines_is_known_in_other_processes(tmp_path):
    class Mine(AdapterTuning): name = "mine"
    Mine.__module__ = "__main__"   # as in a notebook
    try: table = compare(dict(data="cells", limit=48, epochs=1, method="mine", adapter="none", noise=[.2, .4]), tmp_path, jobs=2, say=quiet)
    finally: del METHODS["mine"]
    assert table.noise.tolist() == [.2, .4] and not table.attrs.get("failed")


def test_a_run_that_somebody_trains_is_left_to_them(whole, tmp_path):
    run = grid_runs(GRID)[0]
    mine = Lease(tmp_path/run.name); assert mine.take()
    with mine: found = train_one(run, tmp_path)
    assert found["state"] == "elsewhere" and str(os.getpid()) in found["why"] and not (tmp_path/run.name/"metrics.json").exists()


def test_frozen_passes_are_made_by_the_first_run_that_reads_them():
    runs = grid_runs(dict(method=["linear", "rein", "cufit"], tokens=4, begins=2, seed=[0, 1, 2], noise=[0, .4], images_seed=0))
    ahead, rest = waves(runs)
    assert [r.settings["method"] for r in ahead] == ["linear", "rein"] and len(ahead)+len(rest) == len(runs) == 18, "linear has no begins, rein's are cufit's"
    assert len(waves([r for r in grid_runs(dict(method="linear", views=2, seed=[0, 1, 2]))])[0]) == 3, "each seed its own images"


def test_a_name_of_a_run_depends_on_what_changes_it_alone():
    base = dict(data="cells", method="cufit", noise=.4)
    assert run_hash(base) == run_hash(base | dict(options=("loss=batch",), device="cpu", cache="x")) != run_hash(base | dict(options=("loss=selected",)))
    assert run_hash(base | dict(method="linear", views=4)) == run_hash(base | dict(method="linear", options=("views=4",)))


@pytest.mark.slow
def test_a_worker_that_is_killed_costs_nobody_else_anything(whole, tmp_path):
    "Two jobs in a process of their own, shot in the middle: the next start takes over what they held, once it is old."
    grid = tmp_path/"grid.toml"
    grid.write_text('\n'.join(f'{k} = {json.dumps(v)}' for k, v in GRID.items() if k != "linear") + '\n[linear]\nviews = 2\n')
    command = [str(Path(sys.executable).with_name("cufit")), "compare", str(grid), "--out", str(tmp_path/"out"), "--jobs", "2"]
    going = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic()+240
    while not list((tmp_path/"out").rglob("resume.safetensors")) and time.monotonic() < until: time.sleep(.2)
    os.killpg(going.pid, signal.SIGKILL); going.wait()
    for lease in (tmp_path/"out").rglob("lease.json"): os.utime(lease, (time.time()-600,)*2)
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    same(pd.read_csv(tmp_path/"out"/"results.csv"), pd.read_csv(whole[0]/"results.csv"))


def test_a_dry_run_writes_nothing_and_a_grid_without_folder_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert compare(GRID | dict(method="linear"), dry_run=True, say=quiet).state.tolist() == ["new"]*2 and not list(Path().iterdir())
    with pytest.raises(CufitError, match="--out"): compare(GRID)


def test_who_has_to_know_the_noise_rate_is_told_the_true_one_unless_another_is_given():
    runs = grid_runs(dict(method=["coteaching", "cufit"], noise=[0, .4]))
    assert [r.settings.get("options") for r in runs] == [("rate=0",), ("rate=0.4",), None, None]
    assert [r.settings["options"] for r in grid_runs(dict(method="codis", noise=.4, rate=[.3, .5]))] == [("rate=0.3",), ("rate=0.5",)]
    told = lambda **s: method_options(split_settings(dict(method="jocor", **s))[0])
    assert told(noise=.2) == dict(rate=.2) and told(noise=.2, options=("rate=0.3",)) == dict(rate=.3) and told() == {}
    with pytest.raises(CufitError, match="coteaching has to be told"): compare(dict(method="coteaching", limit=48, epochs=1), dry_run=True, say=quiet)


@pytest.mark.parametrize("method, adapter", [("coteaching", "rein"), ("jocor", "none"), ("codis", "copy"), ("codis", "lora"), ("elr", "none"), ("gce", "rein"), ("smoothing", "vpt"), ("logistic", None), ("clean", None), ("ablation", "rein")])
def test_every_rival_trains_from_settings_with_an_adapter_and_with_a_head_alone(tmp_path, method, adapter):
    found = train_run(tmp_path/"run", data="cells", limit=48, epochs=2, batch_size=16, lr=1e-2, noise=.4, method=method, options=(f"adapter={adapter}",) if adapter else (), say=quiet)
    again = load_method(tmp_path/"run")
    assert found["method"] == method and again.options.get("adapter") == adapter and 0 <= found["balanced_accuracy"] <= 1
    if method in ("coteaching", "jocor", "codis"): assert again.options["rate"] == .4 and found["label_precision"] is not None


def test_runs_that_only_an_option_or_a_chooser_tells_apart_have_a_page_and_two_grids_share_a_table(tmp_path):
    grid = dict(data="cells", limit=48, epochs=1, method="linear", views=2, choose=["last", "validation"], noise=.4)
    compare(grid, tmp_path, say=quiet)
    page = (tmp_path/"report.html").read_text()
    assert "linear, 2 views, choose=last" in page and "linear, 2 views, choose=validation" in page
    compare(grid | dict(choose="last", noise=.2), tmp_path, say=quiet)
    frame = pd.read_csv(tmp_path/"results.csv")
    assert sorted(zip(frame.choose, frame.noise)) == [("last", .2), ("last", .4), ("validation", .4)], "the earlier grid is still in the table"


@pytest.fixture
def benchmark(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]/"benchmarks"))
    import grid
    monkeypatch.setattr(grid, "RESULTS", tmp_path)
    return grid


def test_every_grid_of_the_benchmarks_has_runs_and_so_has_a_part_of_it(benchmark):
    for file in benchmark.GRIDS.glob("*.toml"):
        whole = grid_runs({k: v for k, v in read_grid(file).items() if k != "tuned"})
        part = benchmark.part_of({k: v for k, v in read_grid(file).items() if k != "tuned"}, ["seed=" + str(whole[0].settings["seed"])])
        assert len({r.name for r in whole}) == len(whole) and {r.name for r in grid_runs(part)} == {r.name for r in whole if r.settings["seed"] == whole[0].settings["seed"]}, file
    assert benchmark.part_of(dict(method=["linear", "rein"], seed=[0, 1], rein=dict(begins=1)), ["method=linear", "seed=1"]) == dict(method=["linear"], seed=[1])
    with pytest.raises(SystemExit, match="no factor"): benchmark.part_of(dict(method=["linear"]), ["nothing=1"])


def test_a_comparison_takes_the_setting_of_each_method_that_validation_liked_best_and_only_when_all_were_tried(benchmark, tmp_path):
    runs = grid_runs(read_grid(benchmark.GRIDS/"pocket_tuning.toml"))
    def row(r): return {k: v if not isinstance(v, tuple) else " ".join(v) for k, v in r.settings.items()} | dict(run=r.name, last_balanced_accuracy=.5, validation_accuracy=.9 if r.settings["method"] == "elr" and "weight=1.0" in r.settings.get("options", ()) and r.settings["lr"] == .01 else .3)
    table = pd.DataFrame([row(r) for r in runs])
    (tmp_path/"tuning").mkdir()
    table.to_csv(tmp_path/"tuning/grid_pocket_tuning.csv", index=False)
    found = benchmark.with_tuned(dict(tuned="pocket_tuning", method=["elr", "linear"], elr=dict(epochs=3)))
    assert {k: float(v) for k, v in found["elr"].items()} == dict(lr=.01, weight=1., epochs=3) and "gce" not in found and "tuned" not in found
    table[1:].to_csv(tmp_path/"tuning/grid_pocket_tuning.csv", index=False)
    with pytest.raises(SystemExit, match=f"1 of its {len(runs)} runs"): benchmark.with_tuned(dict(tuned="pocket_tuning", method="elr"))
