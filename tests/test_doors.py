"What people really feed it: nothing silently wrong, nothing lost, and one sentence where something cannot be done."
import contextlib
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cufit import evaluate_run, load_backbone, load_method, train_run
from cufit.core import CufitError, read_json
from cufit.drawn.cells import draw_cells
from cufit.run.settings import read_splits, same_place

CLASSES = ("basophil", "monocyte")
QUICK = dict(method="linear", noise=0, epochs=1, batch_size=16, resize=48, seed=0)


def quiet(line): pass


@pytest.fixture(scope="module")
def drawn():
    "Sixty pictures, the first thirty of one class; neighbours of three belong to one patient."
    images, _ = draw_cells(60, 48, seed=1)
    return images


@pytest.fixture
def folder(tmp_path, drawn):
    for i, image in enumerate(drawn): put(tmp_path/"scans"/CLASSES[i//30]/f"p{i//3}_{i}.png", image)
    return tmp_path/"scans"


def put(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image.transpose(1, 2, 0)).save(path)


def run(out, data, **settings):
    said = []
    metrics = train_run(out, data=str(data), say=said.append, **QUICK | settings)
    return metrics, said


def scored(out, **options):
    said = []
    found = evaluate_run(out, say=said.append, **options)
    return found, said


# ---- a run keeps its splits

def test_a_grown_folder_is_scored_on_the_splits_of_the_run(tmp_path, folder, drawn):
    metrics, _ = run(tmp_path/"run", folder)
    before = pd.read_csv(tmp_path/"run"/"splits.csv", dtype=str)
    assert len(before) == 60 and before.id.is_unique and set(before.split) == {"train", "val", "test"} and set(before.label) == set(CLASSES)
    for i in range(5): put(folder/CLASSES[0]/f"a_new_{i}.png", drawn[i])
    found, said = scored(tmp_path/"run")
    assert found["n"] == metrics["n_test"] and found["accuracy"] == metrics["accuracy"]
    assert len(said) == 1 and "5 images are new" in said[0] and "no split" in said[0] and "a_new_0.png" in said[0]


def test_a_corrected_label_counts_and_moves_nothing(tmp_path, drawn):
    "In a table, as the how-to invites: the test images stay the same, and their new label is the one that is scored."
    table = pd.DataFrame(dict(image=[f"{i}.png" for i in range(60)], label=[CLASSES[i//30] for i in range(60)]))
    for i, image in enumerate(drawn): put(tmp_path/"scans"/f"{i}.png", image)
    csv = tmp_path/"scans"/"labels.csv"
    table.to_csv(csv, index=False)
    metrics, _ = run(tmp_path/"run", csv)
    splits = read_splits(tmp_path/"run").table
    one = splits.id[splits.split == "test"].iloc[0]
    then = load_method(tmp_path/"run")
    table.loc[table.image == one, "label"] = CLASSES[table.label[table.image == one].item() == CLASSES[0]]
    table.to_csv(csv, index=False)
    found, said = scored(tmp_path/"run")
    assert found["n"] == metrics["n_test"] and abs(found["accuracy"]-metrics["accuracy"]) == pytest.approx(1/found["n"])
    assert said == [f"1 images have another label now in {csv} than in the run (such as {one})"] and then.classes == CLASSES


@pytest.mark.parametrize("spelling", ["{here}/t.csv", "./t.csv", "t.csv", "../{name}/t.csv"])
def test_the_same_table_under_another_spelling_is_the_same_data(tmp_path, drawn, spelling):
    "`--group` of the run holds on, and so do its splits."
    for i, image in enumerate(drawn): put(tmp_path/"scans"/f"{i}.png", image)
    pd.DataFrame(dict(file=[f"{i}.png" for i in range(60)], label=[CLASSES[i//30] for i in range(60)], who=[f"p{i//3}" for i in range(60)])).to_csv(tmp_path/"scans"/"t.csv", index=False)
    metrics, _ = run(tmp_path/"run", tmp_path/"scans"/"t.csv", group="who")
    assert set(read_splits(tmp_path/"run").table.columns) == {"id", "split", "label", "pixels", "group"}
    with contextlib.chdir(tmp_path/"scans"):
        found, said = scored(tmp_path/"run", data=spelling.format(here=tmp_path/"scans", name="scans"))
    assert (found["n"], found["accuracy"], said) == (metrics["n_test"], metrics["accuracy"], [])


def test_places_are_compared_as_places(tmp_path):
    (tmp_path/"a").mkdir()
    with contextlib.chdir(tmp_path): assert same_place("a", "./a") and same_place("a", str(tmp_path/"a")) and not same_place("a", "b") and not same_place("cells", "./cells")
    assert same_place(None, None) and same_place("cells", "cells") and not same_place("cells", None)


def cut(dies, out, data, **settings):
    "A run that dies in its second epoch."
    with dies(2), pytest.raises(KeyboardInterrupt): run(out, data, epochs=3, checkpoint_seconds=0, **settings)


def test_a_run_is_taken_up_on_what_it_began_with(tmp_path, folder, drawn, dies):
    "An image has come and one has moved to another class folder: rows and labels are those of the run, and both are said."
    whole, _ = run(tmp_path/"whole", folder, epochs=3)
    cut(dies, tmp_path/"cut", folder)
    put(folder/CLASSES[0]/"a_new.png", drawn[0])
    metrics, said = run(tmp_path/"cut", folder, epochs=3, checkpoint_seconds=0, resume=True)
    assert metrics["accuracy"] == whole["accuracy"] and metrics["n_train"] == whole["n_train"]
    assert any("1 images are new" in line for line in said)


def test_a_label_corrected_before_a_run_is_taken_up_waits(tmp_path, drawn, dies):
    table = pd.DataFrame(dict(image=[f"{i}.png" for i in range(60)], label=[CLASSES[i//30] for i in range(60)]))
    for i, image in enumerate(drawn): put(tmp_path/"scans"/f"{i}.png", image)
    csv = tmp_path/"scans"/"labels.csv"; table.to_csv(csv, index=False)
    whole, _ = run(tmp_path/"whole", csv, epochs=3)
    cut(dies, tmp_path/"cut", csv)
    splits = read_splits(tmp_path/"cut").table
    one = splits.id[splits.split == "train"].iloc[0]
    table.loc[table.image == one, "label"] = CLASSES[table.label[table.image == one].item() == CLASSES[0]]
    table.to_csv(csv, index=False)
    metrics, said = run(tmp_path/"cut", csv, epochs=3, checkpoint_seconds=0, resume=True)
    assert metrics["accuracy"] == whole["accuracy"] and any(one in line for line in said) and any("splits.csv" in line for line in said)
    assert read_splits(tmp_path/"cut").table.equals(splits)


def test_lost_and_replaced_pictures_stop_what_goes_on(tmp_path, folder, drawn, dies):
    cut(dies, tmp_path/"cut", folder)
    splits = read_splits(tmp_path/"cut").table
    one = splits.id[splits.split == "train"].iloc[0]
    kept = (folder/one).read_bytes()
    (folder/one).unlink()
    with pytest.raises(CufitError, match=one): run(tmp_path/"cut", folder, epochs=3, checkpoint_seconds=0, resume=True)
    put(folder/one, drawn[59-int(Path(one).stem.split("_")[1])])
    with pytest.raises(CufitError, match="other pictures under the same names"): run(tmp_path/"cut", folder, epochs=3, checkpoint_seconds=0, resume=True)
    (folder/one).write_bytes(kept)
    assert run(tmp_path/"cut", folder, epochs=3, checkpoint_seconds=0, resume=True)[0]["epochs"] == 3


def test_a_test_image_that_is_gone_is_named(tmp_path, folder):
    metrics, _ = run(tmp_path/"run", folder)
    splits = read_splits(tmp_path/"run").table
    one = splits.id[splits.split == "test"].iloc[0]
    (folder/one).unlink()
    found, said = scored(tmp_path/"run")
    assert found["n"] == metrics["n_test"]-1 and len(said) == 1 and one in said[0] and "no longer" in said[0]


def test_a_run_without_splits_says_that_they_are_drawn_again(tmp_path, folder):
    metrics, _ = run(tmp_path/"run", folder)
    (tmp_path/"run"/"splits.csv").unlink()
    found, said = scored(tmp_path/"run")
    assert found["accuracy"] == metrics["accuracy"] and len(said) == 1 and "drawn again" in said[0]


def test_other_data_is_scored_whole(tmp_path, folder):
    run(tmp_path/"run", folder)
    shutil.copytree(folder, tmp_path/"other")
    for p in list((tmp_path/"other").rglob("*.png"))[::2]: p.unlink()
    found, said = scored(tmp_path/"run", data=str(tmp_path/"other"))
    assert found["data"] == str(tmp_path/"other") and found["split"] == "all" and found["n"] == 30 and "class folders: 30 images" in said[0]


# ---- a run folder works from anywhere

def test_data_and_weights_are_found_from_another_directory(tmp_path, folder):
    from safetensors.torch import save_file
    save_file(load_backbone(weights="random", seed=3).model.state_dict(), tmp_path/"w.safetensors")
    with contextlib.chdir(tmp_path): metrics, _ = run("run", "scans", weights="w.safetensors")
    (tmp_path/"elsewhere").mkdir()
    with contextlib.chdir(tmp_path/"elsewhere"): found, _ = scored(tmp_path/"run")
    assert found["accuracy"] == metrics["accuracy"] and read_json(tmp_path/"run"/"config.json")["data"] == str(folder)
    (tmp_path/"w.safetensors").rename(tmp_path/"moved.safetensors")
    with pytest.raises(CufitError, match=r"load_method\(folder, weights=\.\.\.\)"): load_method(tmp_path/"run")
    assert scored(tmp_path/"run", weights=tmp_path/"moved.safetensors")[0]["accuracy"] == metrics["accuracy"]


# ---- the public face

@pytest.mark.parametrize("program", ["from cufit import load_method; print(load_method('before/0.1.0/linear').name)", "from cufit.sources.readers import load; print(len(load('cells', limit=40).train))"])
def test_one_import_is_enough_in_a_fresh_process(program):
    done = subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parent, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.split()[0] in ("linear", "40"), done.stderr


def test_a_path_is_a_path_whatever_is_called_the_same(tmp_path, folder):
    from cufit import load
    folder.rename(tmp_path/"cells")
    with contextlib.chdir(tmp_path):
        assert load(Path("cells"), 24).train.classes == load("./cells", 24).train.classes == CLASSES
        assert len(load("cells", 24, limit=40).train.classes) == 8


def test_a_broken_package_is_named(monkeypatch):
    import cufit.core as core
    from types import SimpleNamespace
    def broken(): raise ImportError("no module named scans")
    monkeypatch.setattr(core, "entry_points", lambda group: [SimpleNamespace(value="scans.reader", dist=SimpleNamespace(name="scans"), load=broken)])
    with pytest.raises(CufitError, match="the package scans"): core.load_plugins.__wrapped__("cufit.sources")


# ---- nothing is damaged, lost or late that was not meant to be

def test_own_labels_are_left_as_they_are_unless_noise_is_asked_for(tmp_path, folder):
    settings = {k: v for k, v in QUICK.items() if k != "noise"}
    said = []
    train_run(tmp_path/"run", data=str(folder), say=said.append, **settings)
    assert read_json(tmp_path/"run"/"config.json")["noise"] == 0 and "no noise was added" in said[-2]
    assert (np.load(tmp_path/"run"/"noise.npz")["given"] == np.load(tmp_path/"run"/"noise.npz")["clean"]).all()


def test_a_begun_run_is_not_begun_again_over_itself(tmp_path, folder, dies):
    cut(dies, tmp_path/"cut", folder)
    before = (tmp_path/"cut"/"resume.safetensors").read_bytes()
    with pytest.raises(CufitError, match="1 complete epoch") as e: run(tmp_path/"cut", folder, epochs=3)
    assert "--resume" in str(e.value) and "another folder" in str(e.value)
    assert (tmp_path/"cut"/"resume.safetensors").read_bytes() == before


def test_a_stopped_run_loses_no_complete_epoch_and_says_how_to_go_on(tmp_path, folder, monkeypatch, capsys, dies):
    "Ctrl-C in the second epoch, long before a state would have been written: the first epoch is there, and the end is that of an uninterrupted run."
    from cufit.cli import main
    whole, _ = run(tmp_path/"whole", folder, epochs=3)
    words = ["train", "--data", str(folder), "--method", "linear", "--epochs", "3", "--batch-size", "16", "--resize", "48", "--out", str(tmp_path/"cut")]
    monkeypatch.setattr(sys, "argv", ["cufit", *words])
    with dies(2), pytest.raises(SystemExit) as e: main()
    assert e.value.code == 130 and "1 complete epoch" in capsys.readouterr().err
    assert run(tmp_path/"cut", folder, epochs=3, resume=True)[0]["accuracy"] == whole["accuracy"]
    assert (tmp_path/"cut"/"last.safetensors").read_bytes() == (tmp_path/"whole"/"last.safetensors").read_bytes()


def test_more_epochs_where_the_schedule_allows_it(tmp_path, folder, dies):
    cut(dies, tmp_path/"early", folder)   # one of three epochs: the rate falls after the first
    with pytest.raises(CufitError, match="begun for 3 epochs"):
        (tmp_path/"late").mkdir(); cut(dies, tmp_path/"late"/"run", folder)
        run(tmp_path/"late"/"run", folder, epochs=3, checkpoint_seconds=0, resume=True)
        run(tmp_path/"late"/"run", folder, epochs=9, checkpoint_seconds=0, resume=True)
    longer, _ = run(tmp_path/"early", folder, epochs=8, checkpoint_seconds=0, resume=True)
    at_once, _ = run(tmp_path/"at_once", folder, epochs=8)
    assert longer["accuracy"] == at_once["accuracy"] and longer["epochs"] == 8


@pytest.mark.parametrize("kind", ["file", "below a file"])
def test_a_place_that_cannot_be_written_is_tried_first(tmp_path, kind):
    (tmp_path/"taken").write_text("")
    out = tmp_path/"taken" if kind == "file" else tmp_path/"taken"/"run"
    with pytest.raises(CufitError, match="Nothing can be written"): run(out, tmp_path/"no such data")


def test_what_could_not_begin_leaves_nothing_that_looks_begun(tmp_path, folder):
    with pytest.raises(CufitError, match="no such data"): run(tmp_path/"run", tmp_path/"no such data")
    assert not list((tmp_path/"run").iterdir())
    run(tmp_path/"dry", folder, dry_run=True)
    assert not (tmp_path/"dry").exists()
    assert run(tmp_path/"run", folder)[0]["epochs"] == 1


@pytest.mark.parametrize("setting", [dict(lr=float("nan")), dict(lr=float("inf")), dict(weight_decay=-1.), dict(curves=-1), dict(views=-1), dict(keep_last=-1), dict(img_size=0), dict(resize=-3), dict(limit=0), dict(noise=-.1), dict(batch_size=0)])
def test_impossible_settings_are_refused_before_anything_is_read(tmp_path, setting):
    name, = setting
    with pytest.raises(CufitError) as e: run(tmp_path/"run", tmp_path/"no such data", **setting)
    assert name.split("_")[0] in str(e.value) and not (tmp_path/"run").exists()


# ---- a figure never costs a run

def figures(tmp_path, classes, labels, predicted, noise=.4):
    from cufit.data.imageset import ImageSet
    from cufit.data.noise import corrupt
    from cufit.train.record import History
    from cufit.run.report import draw_figures
    images = np.zeros((len(labels), 3, 8, 8), np.uint8)
    data = ImageSet(images, labels, np.arange(len(labels)), classes)
    given, record = corrupt(data, "symmetric", noise, 0)
    history = History(["lpm", "iam"], trained=[np.stack([np.ones(len(labels), bool), np.zeros(len(labels), bool)])]*2, rows=[{}, {}])
    failed = draw_figures(tmp_path, predicted, history, given, data, record, None)
    return failed, {p.stem for p in (tmp_path/"figures").glob("*.png")}


@pytest.mark.parametrize("classes", [("$\\frac{1}{0$", "$x_"), ("a"*200, "b\n\nc"), ("", "x")][:2])
def test_any_class_name_can_be_drawn(tmp_path, classes):
    "A module that was trained on nothing has no precision to draw, and does not spoil the picture either."
    failed, drawn = figures(tmp_path, classes, np.array([0, 1]*8), np.array([0]*16))
    assert not failed and drawn == {"confusion", "samples", "noise", "selection"}


def test_three_hundred_classes_are_drawn_in_seconds(tmp_path):
    import time
    started = time.process_time()
    failed, drawn = figures(tmp_path, [f"class {k}" for k in range(300)], np.arange(900) % 300, np.arange(900)*7 % 300)
    assert not failed and len(drawn) == 4 and time.process_time()-started < 20


def test_a_figure_that_cannot_be_drawn_says_so_in_its_place(tmp_path, folder, monkeypatch):
    import cufit.run.report as report
    def broken(*args): raise RuntimeError("no <font> for it")
    monkeypatch.setattr(report, "confusion_figure", broken)
    metrics, said = run(tmp_path/"run", folder)
    page = (tmp_path/"run"/"report.html").read_text()
    assert metrics["n_test"] and "could not be drawn: RuntimeError: no &lt;font&gt; for it" in page and page.count("<img") == 1
    assert any("the picture confusion could not be drawn" in line for line in said)


# ---- tables that slip

def table_of(tmp_path, drawn, text):
    for i in range(4): put(tmp_path/f"i{i}.png", drawn[i])
    (tmp_path/"labels.csv").write_text(text)
    return tmp_path/"labels.csv"


@pytest.mark.parametrize("text, words", [
    ("image,label\ni0.png,cyst, benign\ni1.png,mole\n", ["line 2", "3 cells for 2 columns", "' benign'"]),
    ("image,label\ni0.png,cyst\n./i0.png,mole\n", ["line 2 and line 3", "same file"]),
    ('image,label\ni0.png,"cyst\ni1.png,mole\ni2.png,mole\n', ["line 2", "quote"]),
    ('image,label\ni0.png,cyst\ni1.png,"mole\ni2.png,mole"\n', ["line 3", "closed in line 4"]),
    ('image,label\ni0.png,"cyst"y\ni1.png,mole\n', ["line 2", "quote"]),
])
def test_a_table_that_slips_is_stopped_at_its_line(tmp_path, drawn, text, words):
    from cufit import load
    with pytest.raises(CufitError) as e: load(table_of(tmp_path, drawn, text), 24)
    for word in [*words, "labels.csv"]: assert word in str(e.value), e.value


@pytest.mark.parametrize("text", ["image,label,\n{}", "image,label,,\n{}", "\ufeffimage;label\n{}", "image\tlabel\n{}\n\n", "image, label\n{}"])
def test_commas_at_the_end_and_other_harmless_things_do_no_harm(tmp_path, drawn, text, recwarn):
    from cufit.sources.readers import read_table
    sep = "\t" if "\t" in text else ";" if ";" in text else ","
    rows = "\n".join(sep.join((f"i{i}.png", "a,b"[::2][i % 2])) + sep*text.split("\n")[0].count(",,") for i in range(4))
    table = read_table(text.format(rows).encode(), "t.csv")
    assert list(table.columns) == ["image", "label"] and table.label.tolist() == ["a", "b"]*2 and not len(recwarn)


def test_classes_have_one_order():
    from cufit.sources.listing import class_names
    assert {class_names(v) for v in (["01", "1", "2"], ["1", "2", "01"], ["2", "01", "1"])} == {("1", "01", "2")}


def test_ham10000_without_its_table_is_no_set_of_two_classes(tmp_path, drawn):
    from cufit import load
    for i in range(4): put(tmp_path/f"HAM10000_images_part_{1+i % 2}"/f"{i}.png", drawn[i])
    with pytest.raises(CufitError, match="HAM10000_metadata.csv"): load(tmp_path, 24)


def test_predictions_stand_beside_the_scores(tmp_path, folder):
    metrics, _ = run(tmp_path/"run", folder)
    found, _ = scored(tmp_path/"run")
    table = pd.read_csv(tmp_path/"run"/"predictions_test.csv", dtype=dict(id=str))
    assert list(table.columns) == ["id", "label", "prediction", "p(basophil)", "p(monocyte)"] and len(table) == found["n"]
    assert (table.label == table.prediction).mean() == pytest.approx(metrics["accuracy"])
    assert np.allclose(table.iloc[:, 3:].sum(axis=1), 1, atol=1e-4) and set(table.id) == set(read_splits(tmp_path/"run").table.query("split == 'test'").id)


# ---- other people's images, and what is said

def test_external_images_whatever_they_bring(tmp_path, folder, drawn):
    "All rows without splits, the test split otherwise, any by name; classes that are absent have no recall."
    run(tmp_path/"run", folder)
    for i in range(10): put(tmp_path/"part"/CLASSES[0]/f"{i:03}.png", drawn[i])
    for i in range(12): put(tmp_path/"given"/("test" if i < 8 else "train")/CLASSES[i % 2]/f"{i}.png", drawn[30*(i % 2)+i])
    for i in range(4): put(tmp_path/"only"/"test"/CLASSES[i % 2]/f"{i}.png", drawn[30*(i % 2)+i])
    found, _ = scored(tmp_path/"run", data=str(tmp_path/"part"))
    assert (found["split"], found["n"], found["per_class_recall"][1]) == ("all", 10, None)
    table = pd.read_csv(tmp_path/"run"/"predictions_all.csv")
    assert list(table.columns) == ["id", "label", "prediction", *(f"p({c})" for c in CLASSES)] and len(table) == 10
    assert [(f["split"], f["n"]) for f in (scored(tmp_path/"run", data=str(tmp_path/d), split=s)[0] for d, s in (("given", None), ("given", "all"), ("only", None), ("given", "train")))] == [("test", 8), ("all", 12), ("test", 4), ("train", 4)]
    _, said = scored(tmp_path/"run")
    assert any("held the scores on" in line and "given" not in line for line in said)   # of `only`, which are replaced
    found, _ = scored(tmp_path/"run", split="all")
    assert found["n"] == 60


def test_scores_of_other_data_can_stand_elsewhere(tmp_path, folder):
    run(tmp_path/"run", folder)
    evaluate_run(tmp_path/"run", out=tmp_path/"apart")
    assert {p.name for p in (tmp_path/"apart").iterdir()} == {"evaluate_test.json", "predictions_test.csv"} and not (tmp_path/"run"/"evaluate_test.json").exists()


def test_ids_stay_text(tmp_path, drawn):
    from cufit.core import read_text_table
    for i, image in enumerate(drawn): put(tmp_path/"scans"/f"{i:03}.png", image)
    pd.DataFrame(dict(image=[f"{i:03}" for i in range(60)], label=[("NA", "x")[i//30] for i in range(60)])).to_csv(tmp_path/"scans"/"labels.csv", index=False)
    run(tmp_path/"run", tmp_path/"scans")
    scored(tmp_path/"run")
    ids = {f"{i:03}" for i in range(60)}
    for name, column in (("splits.csv", "label"), ("selection.csv", "given"), ("predictions_test.csv", "label")):
        table = read_text_table(tmp_path/"run"/name)
        assert set(table.id) <= ids and set(table[column]) == {"NA", "x"}, name


def test_the_command_line_has_every_way_out(tmp_path, drawn, capsys):
    from cufit.cli import app
    for i, image in enumerate(drawn): put(tmp_path/"pictures"/f"{i}.png", image)
    pd.DataFrame(dict(image=[f"{i}.png" for i in range(60)], label=[CLASSES[i//30] for i in range(60)], patient=["p1", "p2"]*30, split=["train"]*60)).to_csv(tmp_path/"t.csv", index=False)
    app(["train", "--data", str(tmp_path/"t.csv"), "--root", str(tmp_path/"pictures"), "--no-group", "--no-split", "--classes", f"{CLASSES[1]}, {CLASSES[0]}", "--method", "linear", "--epochs", "1", "--resize", "48", "--out", str(tmp_path/"run")], standalone_mode=False)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith(f"({CLASSES[1]} 30, {CLASSES[0]} 30)") and "drawn here by class: train 42" in lines[2] and "groups: none" in lines[3]
    config = read_json(tmp_path/"run"/"config.json")
    assert (config["group"], config["split"], config["classes"], config["root"]) == (False, False, [*CLASSES[::-1]], str(tmp_path/"pictures"))
    app(["evaluate", str(tmp_path/"run")], standalone_mode=False)   # reads it in the same way
    assert '"n": 12' in capsys.readouterr().out


def test_a_store_serves_the_run_that_built_it(tmp_path, folder, drawn):
    "Evaluation holds to the splits of the run when the folder has grown."
    metrics, said = run(tmp_path/"run", folder, store=str(tmp_path/"store"))
    assert any(line.startswith("data: ") for line in said)
    put(folder/CLASSES[0]/"a_new.png", drawn[3])
    found, said = scored(tmp_path/"run")
    assert found["n"] == metrics["n_test"] and found["accuracy"] == metrics["accuracy"] and any("1 images are new" in line for line in said)
    with pytest.raises(CufitError, match="have come"): run(tmp_path/"other", folder, store=str(tmp_path/"store"))


def test_a_cut_config_is_named(tmp_path, folder):
    run(tmp_path/"run", folder)
    path = tmp_path/"run"/"config.json"
    path.write_text(path.read_text()[:100])
    with pytest.raises(CufitError, match="config.json cannot be read"): scored(tmp_path/"run")


def test_a_cache_that_cannot_be_made_is_tried_first(tmp_path):
    (tmp_path/"file").write_text("")
    with pytest.raises(CufitError, match="with --cache"): run(tmp_path/"run", "nowhere", cache=str(tmp_path/"file"/"below"))


def test_home_is_understood_in_every_place(tmp_path, folder, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    metrics, _ = run("~/run", "~/scans", cache="~/kept", store="~/store")
    assert (tmp_path/"run"/"metrics.json").is_file() and (tmp_path/"store"/"store.json").is_file() and (tmp_path/"kept").is_dir()
    assert scored("~/run")[0]["n"] == metrics["n_test"]


def test_fewer_epochs_are_refused_before_images_are_read(tmp_path, folder, monkeypatch, dies):
    cut(dies, tmp_path/"cut", folder)
    import cufit.run.experiment as experiment
    monkeypatch.setattr(experiment, "load_splits", lambda *args, **kwargs: pytest.fail("images were read"))
    with pytest.raises(CufitError, match="was begun for 3 epochs|epochs behind it"): run(tmp_path/"cut", folder, epochs=1, checkpoint_seconds=0, resume=True)


def test_classes_in_other_scripts_can_be_told_apart(tmp_path, recwarn):
    "Where no font has a letter, its number stands there; a row of boxes would be the same for every class."
    from cufit.figure import printable
    names = ("病变", "正常")
    shown = [printable(n) for n in names]
    assert all(s == n or s.count("U+") == 2 for s, n in zip(shown, names)) and len(set(shown)) == 2
    labels = np.arange(20) % 2
    figures(tmp_path, names, labels, labels)
    assert not [w for w in recwarn if "Glyph" in str(w.message)]


# ---- what a run is asked once more, and elsewhere

def test_a_run_with_a_store_of_its_own_goes_on_and_is_found_from_elsewhere(tmp_path, folder, dies, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with dies(2), pytest.raises(KeyboardInterrupt): run(tmp_path/"run", folder, epochs=3, checkpoint_seconds=0, store="kept", cache="passes")
    metrics, _ = run(tmp_path/"run", folder, epochs=3, checkpoint_seconds=0, store="kept", cache="passes", resume=True)
    (tmp_path/"elsewhere").mkdir(); monkeypatch.chdir(tmp_path/"elsewhere")
    assert scored(tmp_path/"run")[0]["accuracy"] == metrics["accuracy"] and not list((tmp_path/"elsewhere").iterdir())


def test_replaced_test_pictures_are_noticed(tmp_path, folder, drawn, dies):
    cut(dies, tmp_path/"run", folder)
    splits = pd.read_csv(tmp_path/"run"/"splits.csv", dtype=str)
    for i in splits.id[splits.split == "test"]: put(folder/i, drawn[0]*0)
    with pytest.raises(CufitError, match="other pictures"): run(tmp_path/"run", folder, epochs=3, checkpoint_seconds=0, resume=True)


def test_data_that_has_moved_is_the_data_of_the_run(tmp_path, folder, drawn):
    metrics, _ = run(tmp_path/"run", folder)
    folder = folder.rename(tmp_path/"moved")
    with pytest.raises(CufitError, match="If it has moved"): scored(tmp_path/"run")
    found, said = scored(tmp_path/"run", data=str(folder))
    assert found["accuracy"] == metrics["accuracy"] and found["n"] == metrics["n_test"] and "its splits are used" in " ".join(said)
    for path in folder.rglob("*.png"): put(path, 255-np.asarray(Image.open(path)).transpose(2, 0, 1))   # the same names of other pictures
    found, said = scored(tmp_path/"run", data=str(folder))
    assert found["n"] == 60 and found["split"] == "all"


def test_a_class_that_came_later_is_no_class_of_the_run(tmp_path, folder, drawn, dies):
    metrics, _ = run(tmp_path/"done", folder, epochs=3)
    cut(dies, tmp_path/"cut", folder)
    put(folder/"unsure"/"x.png", drawn[0])
    found, said = scored(tmp_path/"done")
    assert found["accuracy"] == metrics["accuracy"] and "1 images are new" in " ".join(said)
    assert run(tmp_path/"cut", folder, epochs=3, checkpoint_seconds=0, resume=True)[0]["accuracy"] == metrics["accuracy"]


@pytest.mark.parametrize("file, content, words", [("splits.csv", "", "cannot be read"), ("splits.csv", "id;split;label\n", "no column"), ("splits.csv", 'id,split,label\n"a,train,x\n', "cannot be read|no column"), ("splits.csv", "id,split,label\na,training,x\n", "has the split"), ("config.json", "[]", "settings of a run"), ("config.json", "{}", "settings of a run")])
def test_a_damaged_run_folder_is_named(tmp_path, folder, file, content, words):
    run(tmp_path/"run", folder)
    (tmp_path/"run"/file).write_text(content)
    with pytest.raises(CufitError, match=words): scored(tmp_path/"run")


def test_places_that_cannot_be_and_sizes_that_cannot_be(tmp_path, folder, monkeypatch):
    from cufit.run.experiment import how_to_go_on
    run(tmp_path/"run", folder)
    (tmp_path/"file").write_text("")
    with pytest.raises(CufitError, match="Nothing can be written"): evaluate_run(tmp_path/"run", out=tmp_path/"file")
    with pytest.raises(CufitError, match="smaller than a patch|cannot be built"): load_backbone("vit_tiny_patch16_224", "random", 10)
    assert "Nothing was begun" in how_to_go_on(None)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert "complete epoch" in how_to_go_on("~/run")


def test_pictures_that_were_trained_on_are_known_under_any_name(tmp_path, folder, drawn):
    run(tmp_path/"run", folder)
    for i, path in enumerate(sorted(folder.rglob("*.png"))):
        put(tmp_path/"other"/path.parent.name/f"x{i}.png", np.asarray(Image.open(path)).transpose(2, 0, 1))
    found, said = scored(tmp_path/"run", data=str(tmp_path/"other"))
    counts = pd.read_csv(tmp_path/"run"/"splits.csv", dtype=str).split.value_counts()
    assert found["n"] == 60 and any(f"train {counts.train}, val {counts.val}" in line for line in said)


def test_a_class_that_is_gone_is_named(tmp_path, folder):
    run(tmp_path/"run", folder)
    (folder/CLASSES[1]).rename(folder/"renamed")
    with pytest.raises(CufitError, match=f"class '{CLASSES[1]}' any more"): scored(tmp_path/"run")


@pytest.mark.parametrize("option", ["out", "store", "cache"])
def test_nothing_is_written_among_the_classes(tmp_path, folder, option):
    with pytest.raises(CufitError, match=f"--{option}"): run(**dict(out=tmp_path/"run", data=folder) | {option: str(folder/"mine")})
    assert sorted(p.name for p in folder.iterdir()) == sorted(CLASSES)


def test_labels_that_the_model_does_not_know(tmp_path, folder, drawn):
    run(tmp_path/"run", folder)
    put(tmp_path/"other"/"wart"/"1.png", drawn[0])
    with pytest.raises(CufitError, match="The model knows basophil, monocyte") as e: scored(tmp_path/"run", data=str(tmp_path/"other"))
    assert "--classes" not in str(e.value)


def test_a_run_goes_on_where_its_data_has_moved_and_on_no_other(tmp_path, folder, drawn, dies):
    whole, _ = run(tmp_path/"whole", folder, epochs=3)
    cut(dies, tmp_path/"cut", folder)
    moved = folder.rename(tmp_path/"moved")
    shutil.copytree(tmp_path/"cut", tmp_path/"again")
    assert run(tmp_path/"cut", moved, epochs=3, checkpoint_seconds=0, resume=True)[0]["accuracy"] == whole["accuracy"]
    for path in moved.rglob("*.png"): put(path, 255-np.asarray(Image.open(path)).transpose(2, 0, 1))
    with pytest.raises(CufitError, match="other pictures"): run(tmp_path/"again", moved, epochs=3, checkpoint_seconds=0, resume=True)
    with pytest.raises(CufitError, match="other pictures|other settings"): run(tmp_path/"again", "cells", epochs=3, checkpoint_seconds=0, resume=True)


def test_a_folder_and_the_one_that_holds_it_are_the_same_data(tmp_path, folder, dies):
    "The folder `outer` holds nothing but the folder with the classes, so either can be named; ids differ by the name between them."
    inner = folder.rename((tmp_path/"outer").mkdir() or tmp_path/"outer"/"scans")
    whole, _ = run(tmp_path/"whole", tmp_path/"outer", epochs=3)
    assert read_splits(tmp_path/"whole").table.id.str.startswith("scans/").all()
    found, said = scored(tmp_path/"whole", data=str(inner))
    assert (found["n"], found["accuracy"]) == (whole["n_test"], whole["accuracy"]) and said == [f"{inner} holds the images of the run: its splits are used"]
    cut(dies, tmp_path/"cut", tmp_path/"outer")
    assert run(tmp_path/"cut", inner, epochs=3, checkpoint_seconds=0, resume=True)[0]["accuracy"] == whole["accuracy"]
    run(tmp_path/"below", inner)
    assert scored(tmp_path/"below", data=str(tmp_path/"outer"))[0]["n"] == whole["n_test"]


def test_a_folder_with_labels_csv_and_the_table_itself_are_the_same_data(tmp_path, drawn, dies):
    for i, image in enumerate(drawn): put(tmp_path/"scans"/f"{i}.png", image)
    csv = tmp_path/"scans"/"labels.csv"
    pd.DataFrame(dict(image=[f"{i}.png" for i in range(60)], label=[CLASSES[i//30] for i in range(60)])).to_csv(csv, index=False)
    whole, _ = run(tmp_path/"whole", tmp_path/"scans", epochs=3)
    cut(dies, tmp_path/"cut", tmp_path/"scans")
    assert run(tmp_path/"cut", csv, epochs=3, checkpoint_seconds=0, resume=True)[0]["accuracy"] == whole["accuracy"]


def test_a_file_called_figures_is_found_before_the_run(tmp_path, folder):
    (tmp_path/"run").mkdir(); (tmp_path/"run"/"figures").touch()
    with pytest.raises(CufitError, match="figures: File exists"): run(tmp_path/"run", folder)


def test_a_class_that_came_later_leaves_a_store_as_it_was(tmp_path, folder, drawn):
    metrics, _ = run(tmp_path/"run", folder, store=str(tmp_path/"store"))
    put(folder/"unsure"/"x.png", drawn[0])
    assert scored(tmp_path/"run")[0]["accuracy"] == metrics["accuracy"]
