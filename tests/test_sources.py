"What real folders, tables, archives and arrays hold: read rightly, or refused with the name of what is wrong."
import io
import os
import string
import tempfile
import unicodedata
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from PIL import Image

from cufit.core import CufitError
from cufit.sources.readers import load, load_part
from cufit.sources.store import build_store, open_store


def png(i, size=8, kind="PNG", mode=None):
    "A picture whose every pixel says which one it is."
    buffer = io.BytesIO()
    image = Image.fromarray(np.full((size, size), i, np.uint8)).convert(mode or "L")
    image.save(buffer, kind, **(dict(lossless=True) if kind == "WEBP" else dict(irreversible=False) if kind == "JPEG2000" else {}))
    return buffer.getvalue()


def put(path, content=b""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def scans(top, n=30, suffix=".png", classes=("cyst", "tumour")):
    for i in range(n): put(top/classes[i % len(classes)]/f"{i:03}{suffix}", png(i))
    return top


def told(splits): return sorted(int(x) for part in splits for x in part.images[:, 0, 0, 0])

def read(source, size=8, **options):
    "Splits, and all that was said."
    said = []
    return load(source, size, say=said.append, **options), said

def refused(source, **options):
    with pytest.raises(CufitError) as e: read(source, **options)
    return str(e.value)


# ---- files do not come and go in silence

LITTER = (".DS_Store", "Thumbs.db", "desktop.ini", "._000.png", ".ipynb_checkpoints/000-checkpoint.png", "__MACOSX/cyst/000.png", "sub/.DS_Store", "sub/deep/Thumbs.db")

@pytest.mark.parametrize("name", LITTER)
def test_litter_is_skipped_at_any_depth_and_counted(tmp_path, name):
    put(scans(tmp_path/"s")/"cyst"/name, png(200))
    splits, said = read(tmp_path/"s")
    assert told(splits) == list(range(30))
    assert [line for line in said if line.startswith("skipped")] == [next(line for line in said if "left behind" in line)] and name.split("/")[0 if name[0] in "._" else -1] in " ".join(said)


@pytest.mark.parametrize("name, words", [
    ("cyst/scan.dcm", "scan.dcm"), ("cyst/hidden.png2", "hidden.png2"), ("cyst/note.txt", "note.txt"), ("stray.png", "no class folder"), ("extra.npz", "extra.npz"), ("cyst/archive.tar.gz", ".gz")])
def test_what_is_no_image_is_named(tmp_path, name, words):
    put(scans(tmp_path/"s")/name, png(1))
    assert words in refused(tmp_path/"s")
    splits, said = read(tmp_path/"s", exclude=name.split("/")[-1])
    assert told(splits) == list(range(30)) and any("excluded: 1" in line for line in said)


def test_texts_beside_classes_are_counted(tmp_path):
    top = scans(tmp_path/"s")
    for name in ("README", "notes.txt", "LICENSE.md", "meta.csv"): put(top/name, "words")
    assert any(line.startswith("skipped, texts: 4") for line in read(top)[1])


def test_links_are_followed_once_and_to_something(tmp_path):
    top = scans(tmp_path/"s")
    put(tmp_path/"far"/"x"/"99.png", png(99))
    (top/"cyst"/"far").symlink_to(tmp_path/"far"); (top/"cyst"/"loop").symlink_to(top); (top/"cyst"/"one.png").symlink_to(tmp_path/"far"/"x"/"99.png")
    splits, said = read(top, exclude="one.png")
    assert told(splits) == [*range(30), 99] and any("linked twice: 1 (cyst/loop)" in line for line in said)
    (top/"cyst"/"gone.png").symlink_to(tmp_path/"nowhere.png")
    assert "gone.png is a link to nothing" in refused(top)


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    "Whoever tests as root can read anything, so the system is played."
    top, real = scans(tmp_path/"s"), os.scandir
    put(top/"cyst"/"locked"/"x.png", png(1))
    def scandir(path):
        if str(path).endswith("locked"): raise PermissionError(13, "Permission denied", path)
        return real(path)
    monkeypatch.setattr(os, "scandir", scandir)
    assert "locked cannot be read: Permission denied" in refused(top)
    assert told(read(top, exclude="locked")[0]) == list(range(30))


@pytest.mark.skipif(os.name == "nt", reason="names are Unicode there")
def test_a_name_that_is_not_utf8_is_named(tmp_path):
    top = scans(tmp_path/"s")
    with open(os.fsencode(top/"cyst")+b"/caf\xe9.png", "wb") as f: f.write(png(1))
    assert "\\xe9.png' is not in UTF-8" in refused(top)


@pytest.mark.parametrize("mask, way", [("cyst/000_mask.png", "*_mask.*"), ("cyst/000_Segmentation.png", "*_Segmentation.*"), ("cyst/masks/000.png", "masks"), ("cyst/mask_000.png", "mask_*.*"), ("cyst/000_mask_1.png", "*_mask*.*"), ("cyst/000-seg.jpg", "*-seg.*"), ("cyst/000_left_mask.png", "*_mask.*"), ("cyst/000mask (1).png", "*mask*.*"), ("cyst/000_roi.png", "*_roi.*"), ("cyst/mask_images/000.png", "mask_images"), ("cyst/Ground Truth/000.png", "Ground Truth")])
def test_masks_are_noticed_and_both_ways_out_lead_out(tmp_path, mask, way):
    put(scans(tmp_path/"s")/mask, png(77))
    message = refused(tmp_path/"s")
    assert Path(mask).name in message and f"--exclude '{way}'" in message and "--include" in message
    assert told(read(tmp_path/"s", exclude=way)[0]) == list(range(30))
    assert told(read(tmp_path/"s", include="*")[0]) == [*range(30), 77]


def test_a_mask_needs_its_image(tmp_path):
    "A picture of a person with a mask is no mask of another picture."
    put(scans(tmp_path/"s")/"cyst"/"face_mask.png", png(50))
    assert 50 in told(read(tmp_path/"s")[0])


@pytest.mark.parametrize("suffix, kind", [(".webp", "WEBP"), (".gif", "GIF"), (".jp2", "JPEG2000"), (".ppm", "PPM"), (".PNG", "PNG"), (".bmp", "BMP")])
def test_formats_of_folders_are_those_of_tables(tmp_path, suffix, kind):
    for i in range(20): put(tmp_path/"s"/("a", "b")[i % 2]/f"{i}{suffix}", png(i, kind=kind))
    table = pd.DataFrame(dict(image=[f"{'ab'[i % 2]}/{i}" for i in range(20)], label=["ab"[i % 2] for i in range(20)]))
    table.to_csv(tmp_path/"t.csv", index=False)
    assert told(read(tmp_path/"s")[0]) == list(range(20)) == told(read(tmp_path/"t.csv", root=tmp_path/"s")[0])


def tiff(channels=1, bits=16, sample=1, size=4):
    "A bare TIFF, as a microscope may write it; Pillow writes none of these."
    data = bytes(size*size*channels*bits//8)
    tags = [(256, 3, size), (257, 3, size), (258, 3, bits), (259, 3, 1), (262, 3, 1), (273, 4, 200), (277, 3, channels), (278, 3, size), (279, 4, len(data)), (339, 3, sample)]
    head = b"II*\0" + (8).to_bytes(4, "little") + len(tags).to_bytes(2, "little")
    for tag, kind, value in tags: head += tag.to_bytes(2, "little") + kind.to_bytes(2, "little") + (1).to_bytes(4, "little") + value.to_bytes(4, "little")
    return head.ljust(200, b"\0") + data


@pytest.mark.parametrize("kind, words", [
    (dict(channels=4, bits=16), ("channels 4", "bits 16")), (dict(bits=64, sample=3), ("bits 64", "sample format 3")), (dict(bits=16, sample=2), ("sign", "--window")), (dict(bits=32, sample=2), ("--window",))])
def test_tiffs_that_cannot_be_read_say_what_they_are(tmp_path, kind, words):
    put(scans(tmp_path/"s")/"cyst"/"odd.tif", tiff(**kind))
    message = refused(tmp_path/"s")
    assert "odd.tif" in message and "not an image" not in message and all(w in message for w in words), message


def test_a_signed_tiff_has_a_way_in(tmp_path):
    put(scans(tmp_path/"s")/"cyst"/"odd.tif", tiff(bits=16, sample=2))
    assert len(told(read(tmp_path/"s", window="-1000,1000")[0])) == 31


def test_very_large_pictures_say_how_large_and_how_to_allow_them(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    put(scans(tmp_path/"s")/"cyst"/"huge.png", png(77, size=64))
    message = refused(tmp_path/"s")
    assert "huge.png is very large" in message and "4096 pixels" in message and "CUFIT_MAX_PIXELS" in message
    monkeypatch.setenv("CUFIT_MAX_PIXELS", "4096")
    assert 77 in told(read(tmp_path/"s")[0])
    monkeypatch.setenv("CUFIT_MAX_PIXELS", "many")
    assert "CUFIT_MAX_PIXELS is 'many'" in refused(tmp_path/"s")


# ---- archives

def zipped(path, files, **options):
    with zipfile.ZipFile(path, "w", **options) as z:
        for name, content in files.items(): z.writestr(name, content)
    return path


@pytest.mark.parametrize("top", ["", "scans/", "a/b/"])
def test_a_zip_of_class_folders(tmp_path, top):
    files = {f"{top}{('cyst', 'tumour')[i % 2]}/P{i//2}_{i}.png": png(i) for i in range(30)}
    splits, said = read(zipped(tmp_path/"s.zip", files | {"__MACOSX/._x": b"", f"{top}README.md": b"x"}), group=r"(P\d+)_")
    assert told(splits) == list(range(30)) and splits.train.classes == ("cyst", "tumour") and "archive of class folders" in said[0]
    assert len(set(splits.train.groups)) == len(splits.train)//2


def test_an_encrypted_zip_says_so(tmp_path):
    path = zipped(tmp_path/"s.zip", {f"{'ab'[i % 2]}/{i}.png": png(i) for i in range(20)})
    data = bytearray(path.read_bytes())
    at = data.rindex(b"PK\x01\x02")   # the last entry of the directory
    data[at+8] |= 1
    path.write_bytes(data)
    assert "is encrypted" in refused(path)


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_names_with_accents_are_found_however_they_are_composed(tmp_path, form):
    other = "NFD" if form == "NFC" else "NFC"
    for i in range(20): put(tmp_path/unicodedata.normalize(form, f"crâne_{i}.png"), png(i))
    pd.DataFrame(dict(image=[unicodedata.normalize(other, f"crâne_{i}.png") for i in range(20)], label=["ab"[i % 2] for i in range(20)])).to_csv(tmp_path/"labels.csv", index=False)
    assert told(read(tmp_path)[0]) == list(range(20))


# ---- tables

def table(top, n=30, **columns):
    "Pictures 0 to n-1 and a table of them."
    for i in range(n): put(top/f"{i:03}.png", png(i))
    columns = dict(image=[f"{i:03}.png" for i in range(n)], label=[("cyst", "tumour")[i % 2] for i in range(n)]) | columns
    pd.DataFrame({k: v for k, v in columns.items() if v is not None}).to_csv(top/"t.csv", index=False)
    return top/"t.csv"


@pytest.mark.parametrize("image", ["image_name", "file_name", "filepath", "Image Index", "ImageID", "FileName"])
@pytest.mark.parametrize("label", ["labels", "Class", "Diagnosis"])
def test_columns_by_many_names(tmp_path, image, label):
    names, labels = [f"{i:03}.png" for i in range(30)], [("cyst", "tumour")[i % 2] for i in range(30)]
    splits, said = read(table(tmp_path, image=None, label=None, **{image: names, label: labels}))
    assert told(splits) == list(range(30)) and f"image = {image} (taken by its name), label = {label} (taken by its name)" in said[1]


@pytest.mark.parametrize("column, names, counts", [
    ("split", ("train", "dev", "test"), (10, 10, 10)), ("subset", ("train", "dev", "eval"), (10, 10, 10)), ("fold", ("train", "val", "test"), (10, 10, 10)),
    ("Partition", ("training", "eval", "test"), (10, 10, 10)), ("set", ("train", "train", "eval"), (18, 2, 10))])
def test_splits_by_many_names(tmp_path, column, names, counts):
    splits, said = read(table(tmp_path, **{column: [names[i//10] for i in range(30)]}))
    assert tuple(map(len, splits)) == counts and any("as given" in line for line in said)
    assert all(any(f"{w!r} is read as" in line for line in said) for w in names if w in ("dev", "eval"))


def test_folds_that_are_numbers_are_not_splits_and_that_is_said(tmp_path):
    splits, said = read(table(tmp_path, fold=[i % 5 for i in range(30)]))
    assert told(splits) == list(range(30)) and any("'fold' is not used" in line for line in said) and any("drawn here" in line for line in said)
    assert "the split is '0'" in refused(tmp_path/"t.csv", split="fold")


def one_hot(n=30, names=("MEL", "NV", "BCC"), one="1.0", zero="0.0"):
    return {c: [one if i % len(names) == k else zero for i in range(n)] for k, c in enumerate(names)}


@pytest.mark.parametrize("one, zero", [("1.0", "0.0"), ("1", "0")])
def test_a_column_for_each_class(tmp_path, one, zero):
    splits, said = read(table(tmp_path, label=None, age=[40+i % 7 for i in range(30)], **one_hot(one=one, zero=zero)))
    assert splits.train.classes == ("MEL", "NV", "BCC") and all((s.labels == s.images[:, 0, 0, 0] % 3).all() for s in splits)
    assert "label = MEL NV BCC" in said[1]


def test_two_ones_in_a_row_are_several_findings(tmp_path):
    columns = one_hot(); columns["MEL"][4] = "1.0"
    message = refused(table(tmp_path, label=None, **columns))
    assert "line 6" in message and "2 of 3 classes (MEL, NV, BCC)" in message
    columns = one_hot() | {"checked": ["1"]*30}
    assert "checked" in refused(table(tmp_path, label=None, **columns))
    assert told(read(tmp_path/"t.csv", classes=("NV", "MEL", "BCC"))[0]) == list(range(30))


def test_one_hot_arrays(tmp_path):
    labels, first, arrays = np.arange(40) % 4, 0, {}
    for s, n in dict(train=24, val=8, test=8).items():
        arrays |= {f"{s}_images": np.arange(first, first+n, dtype=np.uint8)[:, None, None]*np.ones((1, 8, 8), np.uint8), f"{s}_labels": np.eye(4)[labels[first:first+n]]}
        first += n
    np.savez(tmp_path/"x.npz", **arrays)
    assert all((s.labels == s.images[:, 0, 0, 0] % 4).all() for s in read(tmp_path/"x.npz")[0])
    arrays["val_labels"][2] = 0
    np.savez(tmp_path/"x.npz", **arrays)
    assert "row 2: 0 of 4" in refused(tmp_path/"x.npz")


def test_train_csv_that_is_not_aptos(tmp_path):
    table(tmp_path/"train_images").rename(tmp_path/"train.csv")
    splits, said = read(tmp_path)
    assert told(splits) == list(range(30)) and splits.train.classes == ("cyst", "tumour") and "train.csv, a table" in said[0]


def test_an_unreadable_table_is_named(tmp_path, monkeypatch):
    path = table(tmp_path)
    real = Path.read_bytes
    def locked(self):
        if self == path: raise PermissionError(13, "Permission denied")
        return real(self)
    monkeypatch.setattr(Path, "read_bytes", locked)
    assert "t.csv cannot be read: Permission denied" in refused(path)


# ---- splits: the cause, and a way out

SPLITS = {
    "two groups": (dict(patient=["p1", "p2"]*15), ("'patient' (taken by its name)", "2 groups", "--no-group"), dict(group=False)),
    "continuous": (dict(label=[f"{i/7:.3f}" for i in range(30)], grade=["a", "b"]*15), ("'label' (taken by its name)", "30 different", "measurements", "--label"), dict(label="grade")),
    "names": (dict(label=[f"case {i}" for i in range(30)], grade=["a", "b"]*15), ("names, not classes", "--label"), dict(label="grade")),
    "one split": (dict(split=["train"]*30), ("'split' (taken by its name)", "train only", "--no-split"), dict(split=False)),
    "a blank split": (dict(split=["train"]*29+[""]), ("line 31", "split is missing", "--no-split"), dict(split=False)),
    "a blank group": (dict(patient=["p"]*29+[""]), ("line 31", "group is missing", "--no-group"), dict(group=False)),
    "a misspelt split": (dict(split=["train", "tset"]*15), ("line 3", "'tset'", "--no-split"), dict(split=False)),
}

@pytest.mark.parametrize("case", SPLITS)
def test_splits_that_cannot_be_say_why_and_the_advice_works(tmp_path, case):
    columns, words, way_out = SPLITS[case]
    message = refused(table(tmp_path, **columns))
    assert all(w in message for w in words), message
    assert told(read(tmp_path/"t.csv", **way_out)[0]) == list(range(30))


def test_a_class_of_one_image_is_said(tmp_path):
    splits, said = read(table(tmp_path, label=["rare"]+["cyst", "tumour"]*14+["cyst"]))
    assert told(splits) == list(range(30)) and any("one image only of rare" in line for line in said)
    few = refused(table(tmp_path/"few", n=3, label=["a", "b", "a"]))
    assert "3 images of 2 classes" in few and "one class only 1" in few


def test_a_group_pattern_that_is_none(tmp_path):
    assert "is no regular expression" in refused(scans(tmp_path/"s"), group="(P\\d+")


def test_folders_of_splits_have_the_same_way_out(tmp_path):
    scans(tmp_path/"s"/"train")
    files = {f"train/{'ab'[i % 2]}/{i}.png": png(i) for i in range(30)}
    np.savez(tmp_path/"x.npz", train_images=np.arange(30, dtype=np.uint8)[:, None, None]*np.ones((1, 8, 8), np.uint8), train_labels=np.arange(30) % 2)
    for source in (tmp_path/"s", zipped(tmp_path/"s.zip", files), tmp_path/"x.npz"):
        message = refused(source)
        assert "train only" in message and "--no-split" in message
        assert told(read(source, split=False)[0]) == list(range(30))
    assert "no column 'part'" in refused(tmp_path/"s", split="part")


# ---- what was understood, and what looks odd

@pytest.mark.parametrize("a, b", [("Cyst", "cyst"), ("cyst", "cyst "), ("1", "1.0"), ("bone marrow", "bone_marrow"), ("a  b", "a b"), ("caf\u00e9", "cafe\u0301")])
def test_classes_that_may_be_the_same(tmp_path, a, b):
    names = [a, b] if a.strip() != b.strip() else [a+"_x", "  "+b.strip()+" x"]
    _, said = read(table(tmp_path, label=[names[i % 2] for i in range(30)]))
    assert sum("may be the same" in line for line in said) == 1


def test_a_missing_value_as_a_class(tmp_path):
    _, said = read(table(tmp_path, label=["NA", "cyst"]*15))
    assert sum("'NA' looks like a missing value" in line for line in said) == 1


def test_the_same_picture_under_two_names(tmp_path):
    top = scans(tmp_path/"s")
    put(top/"tumour"/"twin.png", png(4))
    said = read(top)[1]
    assert sum("1 images are the same picture" in line and "004.png" in line and "twin.png" in line for line in said) == 1
    with pytest.warns(UserWarning, match="the same picture"): load(top, 8)


def twelve_bits(top, most=4095):
    for i in range(30):
        pixels = np.full((8, 8), i*100, np.uint16); pixels[0, 0] = most
        buffer = io.BytesIO(); Image.fromarray(pixels).save(buffer, "PNG")
        put(top/"ab"[i % 2]/f"{i}.png", buffer.getvalue())
    return top


def test_twelve_bits_in_files_of_sixteen(tmp_path):
    top = twelve_bits(tmp_path/"s")
    splits, said = read(top)
    assert splits.train.images.max() == 16 and sum("brightest pixel is 16 of 255" in line and "--window" in line and "0,4095" in line for line in said) == 1
    for window in ("0,4095", "max"):
        splits, said = read(top, window=window)
        assert splits.train.images.max() == 255 and not any("16 bits" in line for line in said)
    assert not any("16 bits" in line for line in read(twelve_bits(tmp_path/"full", 65535))[1])


def test_the_first_lines_name_source_columns_groups_and_counts(tmp_path):
    said = read(table(tmp_path, patient=[f"p{i//3}" for i in range(30)]), label="label")[1]
    assert said == [f"data: {tmp_path/'t.csv'}, a table: 30 images of 2 classes (cyst 15, tumour 15)",
                    "columns: image = image (taken by its name), label = label, group = patient (taken by its name)",
                    "splits: drawn here by class and group: train 21, val 3, test 6", "groups: 10, each in one split"]


# ---- other people's images

def test_other_data_by_what_it_has(tmp_path):
    classes = ("cyst", "tumour", "other")
    scans(tmp_path/"plain")
    scans(tmp_path/"given"/"train"), scans(tmp_path/"given"/"test", 6)
    scans(tmp_path/"only"/"test", 8, classes=("tumour",))
    def part(name, split=None): return load_part(tmp_path/name, 8, split, classes=classes, say=lambda line: None)
    assert [(n, sum(map(len, s))) for n, s in (part("plain"), part("given"), part("given", "train"), part("given", "all"), part("only"))] == [("all", 30), ("test", 6), ("train", 30), ("all", 36), ("test", 8)]
    [one] = part("only")[1]
    assert one.classes == classes and set(one.labels) == {1}
    with pytest.raises(CufitError, match="gives no splits"): part("plain", "test")
    with pytest.raises(CufitError, match="has no val; its splits are test"): part("only", "val")


def test_a_store_is_not_used_for_what_its_source_was(tmp_path):
    top = scans(tmp_path/"s")
    first = build_store(top, tmp_path/"store", 8)
    assert told(build_store(top, tmp_path/"store", 8)) == told(first)
    put(top/"cyst"/"new.png", png(99))
    with pytest.raises(CufitError, match=r"1 have come \(such as cyst/new.png\)"): build_store(top, tmp_path/"store", 8)
    (top/"cyst"/"new.png").unlink()
    kept = (top/"cyst"/"000.png").read_bytes()
    put(top/"cyst"/"000.png", png(98))
    with pytest.raises(CufitError, match="cyst/000.png .* is another picture"): build_store(top, tmp_path/"store", 8)
    put(top/"cyst"/"000.png", kept)   # another time, the same picture
    assert told(build_store(top, tmp_path/"store", 8)) == told(first)


def test_a_store_has_the_labels_that_its_source_has_now(tmp_path):
    path = table(tmp_path, split=["train"]*20+["val"]*4+["test"]*6)
    first = build_store(path, tmp_path/"store", 8)
    text = path.read_text(); path.write_text(text.replace("000.png,cyst", "000.png,tumour"))
    again = build_store(path, tmp_path/"store", 8)
    assert (first.train.labels != again.train.labels).sum() == 1
    assert (open_store(tmp_path/"store").train.labels == again.train.labels).all()


def test_runs_that_share_images_share_how_they_are_read(tmp_path):
    from cufit.run.grid import shared_setting
    path = table(tmp_path, patient=["p1", "p2"]*15, folder=["a"]*30)
    for classes in (["tumour", "cyst"], ["cyst", "tumour"]):
        _, splits = shared_setting(dict(data=str(path), classes=classes, group=False, backbone="pocket_vit", method="linear"))
        assert list(splits.train.classes) == classes and splits.train.groups is None


# ---- whatever comes: our error, or the right images

NAMES = st.text(st.sampled_from(string.ascii_letters+string.digits+" _-.éß病,;'\"$"), min_size=1, max_size=8).map(str.strip).filter(lambda s: s.strip(". ") and "/" not in s)

def right(splits, truth):
    "Every image that was read is the one its id names, under its label."
    for part in splits:
        for image, label, i in zip(part.images, part.labels, part.ids):
            value, name = truth(str(i))
            assert image[0, 0, 0] == value and part.classes[label] == name
    ids = [str(i) for part in splits for i in part.ids]
    assert len(ids) == len(set(ids))
    return ids


def visible(names): return sum(not any(part.startswith(".") for part in n.split("/")) for n in names)   # what is hidden is passed over


def survives(source, truth, n, **options):
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            splits = load(source, 2, **options)
    except CufitError as e:
        assert str(e).strip()
        return False
    assert len(right(splits, truth)) == n   # nothing came, nothing went
    return True


FUZZ = settings(max_examples=75, deadline=None, suppress_health_check=list(HealthCheck))

@FUZZ
@given(st.data())
def test_any_folder(data):
    with tempfile.TemporaryDirectory() as top:
        classes = data.draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))
        truth, junk = {}, data.draw(st.lists(st.sampled_from([".DS_Store", "a.txt", "x.dcm", "._1.png", "note", "sub/x_mask.png"]), max_size=2))
        for i in range(data.draw(st.integers(0, 16))):
            c = data.draw(st.sampled_from(classes))
            split = data.draw(st.sampled_from(["", "", "", "train/", "test/"]))
            name = f"{split}{c}/{data.draw(st.sampled_from(['', 'deep/']))}{data.draw(NAMES)}{i}.png"
            put(Path(top)/name, png(i, 2)); truth[name] = (i, c)
        for j in junk: put(Path(top)/data.draw(st.sampled_from(classes))/j, b"junk")
        survives(top, truth.__getitem__, visible(truth))


@FUZZ
@given(st.data())
def test_any_table(data):
    with tempfile.TemporaryDirectory() as top:
        n = data.draw(st.integers(0, 14))
        for i in range(n): put(Path(top)/f"{i}.png", png(i, 2))
        classes = data.draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))
        labels = [data.draw(st.sampled_from(classes)) for _ in range(n)]
        frame = pd.DataFrame(dict(image=[data.draw(st.sampled_from(["", "./"]))+f"{i}.png" for i in range(n)], label=labels))
        for extra in data.draw(st.lists(st.sampled_from(["split", "patient", "fold", "age"]), max_size=2, unique=True)):
            frame[extra] = [data.draw(st.sampled_from(["train", "val", "test", "", "p1", "7"])) for _ in range(n)]
        text = frame.to_csv(index=False, sep=data.draw(st.sampled_from([",", ";", "\t"])))
        damage = data.draw(st.sampled_from(["none", "none", "cut", "quote", "comma", "bytes", "twice"]))
        at = data.draw(st.integers(0, max(len(text)-1, 0)))
        text = dict(cut=text[:at], quote=text[:at]+'"'+text[at:], comma=text[:at]+","+text[at:], twice=text+text.rsplit("\n", 2)[-2]).get(damage, text)
        path = put(Path(top)/"t.csv", text.encode()+(b"\xff\xfe" if damage == "bytes" else b""))
        truth = lambda i: (int(Path(i).stem), labels[int(Path(i).stem)].strip())
        if damage in ("none", "bytes"): survives(path, truth, n)
        else:   # what is left may be a table, too; its images have to be those that it names
            try: splits = load(path, 2)
            except CufitError: return
            for part in splits: assert all(image[0, 0, 0] == int(Path(str(i)).stem) for image, i in zip(part.images, part.ids))


@FUZZ
@given(st.data())
def test_any_archive(data):
    with tempfile.TemporaryDirectory() as top:
        path, truth = Path(top)/"a.zip", {}
        inside = data.draw(st.sampled_from(["", "set/"]))
        n, tabled = data.draw(st.integers(0, 14)), data.draw(st.booleans())
        classes = data.draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))
        labels = [data.draw(st.sampled_from(classes)) for _ in range(n)]
        with zipfile.ZipFile(path, "w") as z:
            for i in range(n):
                name = f"{inside}{i}.png" if tabled else f"{inside}{labels[i]}/{i}.png"
                z.writestr(name, png(i, 2)); truth[f"{i}.png" if tabled else name] = (i, labels[i])
            if tabled: z.writestr(f"{inside}labels.csv", pd.DataFrame(dict(image=[f"{i}.png" for i in range(n)], label=labels)).to_csv(index=False))
            for j in data.draw(st.lists(st.sampled_from(["__MACOSX/._1", "README.md", "empty/", "x.bin"]), max_size=2, unique=True)): z.writestr(j, b"junk")
        if data.draw(st.booleans()) and data.draw(st.booleans()):   # a byte is another
            content = bytearray(path.read_bytes()); content[data.draw(st.integers(0, len(content)-1))] ^= data.draw(st.integers(1, 255)); path.write_bytes(content)
            try: load(path, 2)
            except CufitError: pass
        else: survives(path, truth.__getitem__, visible(truth))


@FUZZ
@given(st.data())
def test_any_npz(data):
    with tempfile.TemporaryDirectory() as top:
        path, arrays, first, truth = Path(top)/"a.npz", {}, 0, {}
        k, hot = data.draw(st.integers(1, 4)), data.draw(st.booleans())
        for s in ("train", "val", "test"):
            n = data.draw(st.integers(0, 9))
            labels = np.array([data.draw(st.integers(0, k-1)) for _ in range(n)], int)
            arrays |= {f"{s}_images": np.arange(first, first+n, dtype=np.uint8)[:, None, None]*np.ones((1, 4, 4), np.uint8), f"{s}_labels": np.eye(k, dtype=int)[labels] if hot and k > 1 else labels}
            truth |= {f"{s}/{i}": (first+i, str(labels[i])) for i in range(n)}
            first += n
        damage = data.draw(st.sampled_from(["none", "none", "type", "shape", "lost", "cut"]))
        name = data.draw(st.sampled_from(sorted(arrays)))
        if damage == "type": arrays[name] = arrays[name].astype(float)+.5
        if damage == "shape": arrays[name] = arrays[name][:-1]
        if damage == "lost": del arrays[name]
        np.savez(path, **arrays)
        if damage == "cut": path.write_bytes(path.read_bytes()[:-data.draw(st.integers(1, 200))])
        if damage == "none": survives(path, truth.__getitem__, first)
        else:
            try: load(path, 2)
            except CufitError: pass


# ---- more that people have: hidden folders, parts, two tables, numbers as labels

@pytest.mark.parametrize("name", ["cyst/.thumbnails/x.png", ".cache/a/x.png", "cyst/.hidden.png", "#recycle/x.png", "cyst/lost+found/x.png"])
def test_what_is_hidden_is_skipped(tmp_path, name):
    put(scans(tmp_path/"s")/name, png(200))
    splits, said = read(tmp_path/"s")
    assert told(splits) == list(range(30)) and "left behind" in " ".join(said)


@pytest.mark.parametrize("names, words", [(("ham10000_images_part_1", "ham10000_images_part_2"), "parts of one set"), (("images_001", "images_002"), "parts of one set"), (("train_data", "test_data"), "look like splits"), (("fold1", "fold2"), "parts of one set"), (("split1", "split2"), "parts of one set"),
                                          (("train_1", "train_2"), "look like splits"), (("ISIC_test", "ISIC_train"), "look like splits"), (("val1", "val2"), "look like splits")])
@pytest.mark.parametrize("top", ["", "archive"])
def test_parts_of_a_set_are_no_classes(tmp_path, names, words, top):
    for name in names: scans(tmp_path/"s"/top/name)
    message = refused(tmp_path/"s")
    assert words in message and "--classes" in message
    assert len(read(tmp_path/"s", classes=names)[0].train.classes) == 2


def test_masks_in_a_folder_beside_their_class(tmp_path):
    scans(tmp_path/"s", classes=("cyst", "cyst_masks", "tumour"))
    assert "--exclude 'cyst_masks'" in refused(tmp_path/"s")
    assert read(tmp_path/"s", exclude="cyst_masks")[0].train.classes == ("cyst", "tumour")
    scans(tmp_path/"t", classes=("no_mask", "with_mask"))
    assert read(tmp_path/"t")[0].train.classes == ("no_mask", "with_mask")


@pytest.mark.parametrize("table, images", [("train.csv", "train"), ("train.csv", "images")])
def test_a_table_beside_flat_images_is_named(tmp_path, table, images):
    listed(tmp_path/table)
    for i in range(30): put(tmp_path/images/f"{i:03}.png", png(i))
    message = refused(tmp_path)
    assert table in message and "--root" in message
    assert told(read(tmp_path/table, root=tmp_path/images)[0]) == list(range(30))


def test_a_table_and_its_images_may_be_capitalised(tmp_path):
    listed(tmp_path/"Training.CSV")
    for i in range(30): put(tmp_path/"Training_Images"/f"{i:03}.png", png(i))
    assert told(read(tmp_path)[0]) == list(range(30))


def test_a_hidden_folder_is_said_to_be_passed_over(tmp_path):
    scans(tmp_path/"s"/".data")
    assert "Passed over, left behind by systems and programs: .data" in refused(tmp_path/"s")


def test_a_link_to_itself_is_named(tmp_path):
    top = scans(tmp_path/"s")
    (top/"cyst"/"loop.png").symlink_to("loop.png")
    assert "loop.png is a link to nothing" in refused(top)


def test_include_by_suffix_asks_for_no_masks(tmp_path):
    put(scans(tmp_path/"s")/"cyst"/"000_mask.png", png(77))
    assert "looks like the mask" in refused(tmp_path/"s", include="*.png")


def listed(path, n=30, image="{:03}.png", label=lambda i: ("cyst", "tumour")[i % 2], head="image,label", more=""):
    return put(path, head+"\n"+"".join(f"{image.format(i)},{label(i)}{more}\n" for i in range(n)))


def test_the_table_of_training_comes_first(tmp_path):
    for kind, first in (("train", 0), ("test", 100)):
        for i in range(30): put(tmp_path/f"{kind}_images"/f"{i:03}.png", png(first+i))
        listed(tmp_path/f"{kind}.csv")
    splits, said = read(tmp_path)
    assert told(splits) == list(range(30)) and "test.csv" in " ".join(said)


def test_numbers_do_not_count_classes_that_are_numbers(tmp_path):
    for i in range(30): put(tmp_path/"images"/f"{i:03}.png", png(i))
    for classes in (("1", "2", "3"), ("01", "02")):
        with pytest.raises(CufitError, match="not one of the classes"): load_part(listed(tmp_path/"t.csv", label=lambda i: 0), 8, classes=classes)
    said = []
    part, (images,) = load_part(listed(tmp_path/"t.csv", label=lambda i: 1), 8, classes=("cyst", "mole"), say=said.append)
    assert (images.labels == 1).all() and "1 is mole" in " ".join(said)


def test_two_files_or_two_columns_that_may_be_meant(tmp_path):
    for i in range(30): put(tmp_path/"images"/f"{i:03}.png", png(i))
    put(tmp_path/"images"/"004.tif", png(4, kind="TIFF"))
    assert "may be" in refused(listed(tmp_path/"t.csv", image="{:03}"))
    assert told(read(listed(tmp_path/"t.csv"))[0]) == list(range(30))
    assert "two columns of the label" in refused(listed(tmp_path/"t.csv", head="image,label,label", more=",other"))


@pytest.mark.parametrize("head, words", [("data_split", "train val test"), ("Usage", "Training PublicTest PrivateTest"), ("stage", "train eval")])
def test_a_column_that_holds_splits_is_taken(tmp_path, head, words):
    for i in range(30): put(tmp_path/"images"/f"{i:03}.png", png(i))
    words = words.split()
    put(tmp_path/"t.csv", f"image,label,{head}\n"+"".join(f"{i:03}.png,{'ab'[i % 2]},{words[i//2 % len(words)]}\n" for i in range(30)))
    splits, said = read(tmp_path/"t.csv")
    assert head in " ".join(said) and told([splits.train]) != told(splits)
    if len(words) == 3: assert told([splits.train]) == [i for i in range(30) if i//2 % 3 == 0]


def test_colours_of_16_bits_and_windows(tmp_path):
    from cufit.data.images import parse_window
    for bad in ("0,inf", "-inf,4095", "nan,4"): pytest.raises(CufitError, parse_window, bad)
    top = scans(tmp_path/"s")
    import struct, zlib   # Pillow writes none
    chunk = lambda kind, body: struct.pack(">I", len(body))+kind+body+struct.pack(">I", zlib.crc32(kind+body))
    rows = b"".join(b"\0"+struct.pack(">24H", *[4000]*24) for _ in range(8))
    deep = b"\x89PNG\r\n\x1a\n"+chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0))+chunk(b"IDAT", zlib.compress(rows))+chunk(b"IEND", b"")
    put(top/"cyst"/"deep.png", deep)
    assert "16 bits a pixel" in " ".join(read(top)[1])
    assert "a window comes too late" in refused(top, window="0,4095")
    Image.fromarray(np.full((8, 8), np.nan, np.float32)).save(top/"cyst"/"nan.tif")
    assert "no numbers" in refused(top, window="0,1", exclude="deep.png")


def test_a_class_that_nobody_has_and_a_number_below_zero(tmp_path):
    for i in range(30): put(tmp_path/"images"/f"{i:03}.png", png(i))
    hot = put(tmp_path/"t.csv", "image,MEL,NV,UNK\n"+"".join(f"{i:03}.png,{i % 2},{1-i % 2},0\n" for i in range(30)))
    assert read(hot)[0].train.classes == ("MEL", "NV")
    assert "below 0 is no class" in refused(listed(tmp_path/"u.csv", label=lambda i: (-1, 1)[i % 2]))


def test_advice_for_folders_can_be_followed(tmp_path):
    for split in ("train", "val", "test"): scans(tmp_path/"s"/split)
    put(tmp_path/"s"/"test"/"wart"/"x.png", png(9))
    message = refused(tmp_path/"s")
    assert "--exclude" in message
    assert told(read(tmp_path/"s", exclude="wart")[0]) == sorted([*range(30)]*3)


def test_a_name_in_two_folders(tmp_path):
    for i in range(30): put(tmp_path/"images"/f"{i:03}.png", png(i))
    put(tmp_path/"000.png", png(44))
    assert "may be" in refused(listed(tmp_path/"t.csv"))
    assert told(read(listed(tmp_path/"t.csv"), root=tmp_path/"images")[0]) == list(range(30))


def test_a_thyroid_is_no_mask(tmp_path):
    for i in range(30): put(tmp_path/"s"/("a", "b")[i % 2]/f"thyroid_{i}.png", png(i))
    put(tmp_path/"s"/"a"/"thyroid_0_mask.png", png(99))
    assert "looks like the mask" in refused(tmp_path/"s", include="thyroid_*.png")


@pytest.mark.parametrize("head, words, taken", [("is_train", "1 1 0", False), ("data_split", "trn val tst", True), ("type", "training_set training_set test_set", True), ("type", "validation_set,test_set,test set", False), ("type", "Training set,Validation set,Test set", True)])
def test_a_column_that_may_hold_splits_is_taken_or_named(tmp_path, head, words, taken):
    for i in range(30): put(tmp_path/"images"/f"{i:03}.png", png(i))
    words = words.split(",") if "," in words else words.split()
    put(tmp_path/"t.csv", f"image,label,{head}\n"+"".join(f"{i:03}.png,{'ab'[i % 2]},{words[i//2 % 3]}\n" for i in range(30)))
    said = " ".join(read(tmp_path/"t.csv")[1])
    assert (f"split = {head}" in said) == taken and (taken or head == "type" or f"the column '{head}' is not used" in said)
