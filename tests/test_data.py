"Bad input, odd images, real archives and properties of `cufit.data` that have no place in a notebook."
import functools, hashlib, http.server, io, os, random, struct, threading, zipfile, zlib
from pathlib import Path

import medmnist
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings, strategies as st
from PIL import Image, ImageFile

from cufit.data import imageset
from cufit.sources import catalog, files, reading, readers
from cufit.core import generator, numpy_rng, raises
from cufit.data.images import center_crop, decode, flip_crop, read_image, to_rgb
from cufit.data.sampling import epoch_batches, quotas, split_rows, stratified
from cufit.data.imageset import ImageSet, Splits
from cufit.sources.readers import from_arrays, from_csv, from_folder, from_zip, load, resized
from cufit.sources.catalog import aptos2019, download, from_medmnist, ham10000

torch.set_num_threads(1)
REAL = Path(os.environ.get('CUFIT_DATA') or Path(__file__).resolve().parents[1]/'../shared/data')


def picture(i:int, shape=(8, 8))->np.ndarray:
    "A picture that tells its number: RGB [H, W, 3], one colour."
    return np.broadcast_to(np.array([i, 2*i % 256, 255-i], np.uint8), (*shape, 3))

def save(path, i, **kwargs):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture(i)).save(path, **kwargs)

def told(images)->list: return images[:, 0, 0, 0].tolist()

def write_csv(path, **columns):
    pd.DataFrame(columns).to_csv(path, index=False)
    return path

@pytest.fixture
def folder(tmp_path):
    "Forty numbered pictures in two class folders, four a patient."
    for i in range(40): save(tmp_path/'scans'/('nv' if i % 2 else 'mel')/f'p{i//4}_{i}.png', i)
    return tmp_path/'scans'

@pytest.fixture
def table(tmp_path):
    "Thirty numbered pictures and the columns of their table."
    for i in range(30): save(tmp_path/f'{i:03}.png', i)
    return dict(file=[f'{i:03}.png' for i in range(30)], label=['nv', 'mel', 'df']*10,
                split=['train']*15 + ['val']*6 + ['test']*9, patient=[f'p{i//3}' for i in range(30)])

def sets(**changes):
    columns = dict(images=np.zeros((4, 3, 2, 2), np.uint8), labels=[0, 1, 0, 1], ids=list('abcd'), classes=('x', 'y'))
    return ImageSet(**{**columns, **changes})


# ---- ImageSet and Splits

@pytest.mark.parametrize('changes, words', [
    (dict(images=np.zeros((4, 3, 2, 2), np.float32)), ['float32', 'uint8']),
    (dict(images=np.zeros((4, 2, 2, 3), np.uint8)), ['[4, 2, 2, 3]', '[N, 3, H, W]']),
    (dict(images=[[1]]), ['list', 'NumPy']),
    (dict(labels=[0, 1, 0]), ['[3]', '[4]']),
    (dict(labels=[0., 1., 0., 1.]), ['float64']),
    (dict(labels=[0, 1, 2, 1]), ['Row 2', 'label 2', 'x, y']),
    (dict(labels=[0, -1, 0, 1]), ['Row 1', 'label -1']),
    (dict(ids=list('abca')), ['Rows 0 and 3', 'id a']),
    (dict(ids=list('abc')), ['[3]', 'one id']),
    (dict(ids=['a', ' ', 'c', 'd']), ['Row 1', 'no id']),
    (dict(groups=['a', None, 'c', 'd']), ['Row 1', 'no group']),
    (dict(groups=[1., float('nan'), 2., 3.]), ['Row 1', 'no group']),
    (dict(classes=('x', 'x')), ["'x'", 'twice']),
    (dict(classes=('x',), labels=[0]*4), ['at least two']),
])
def test_image_set_refuses(changes, words): raises(lambda: sets(**changes), *words)

def test_image_set_is_immutable_and_owns_its_labels():
    labels = np.array([0, 1, 0, 1])
    s = sets(labels=labels)
    labels[0] = 1
    assert s.labels.tolist() == [0, 1, 0, 1]
    for column in (s.images, s.labels, s.ids):
        with pytest.raises(ValueError): column[0] = column[1]
    with pytest.raises(AttributeError): s.labels = labels
    assert labels.flags.writeable

def test_memory_mapped_images_are_not_copied(tmp_path):
    np.save(tmp_path/'x.npy', np.arange(48, dtype=np.uint8).reshape(4, 3, 2, 2))
    mapped = np.load(tmp_path/'x.npy', mmap_mode='r')
    s = sets(images=mapped)
    assert isinstance(s.images, np.memmap) and np.shares_memory(s.images, mapped)
    assert s.batch(torch.tensor([2, 0])).tolist() == mapped[[2, 0]].tolist()

def test_subset_takes_rows_masks_and_slices():
    s = sets(images=np.arange(48, dtype=np.uint8).reshape(4, 3, 2, 2), groups=list('ppqq'))
    for index in ([1, 3], np.array([False, True, False, True]), slice(1, None, 2), torch.tensor([1, 3])):
        t = s.subset(index)
        assert t.ids.tolist() == ['b', 'd'] and t.groups.tolist() == ['p', 'q'] and t.images.tolist() == s.images[[1, 3]].tolist()
    assert len(s.subset([])) == 0 and 'ImageSet(0' in s.subset([])._repr_html_()
    for bad in ([4], [-1], [0.5], np.array([True, False]), [[0]]): raises(lambda: s.subset(bad))
    raises(lambda: s.subset([1, 1]), 'Rows 0 and 1', 'id b')

def test_display_is_small_even_for_noise():
    x = np.random.default_rng(0).integers(0, 256, (20, 3, 224, 224), dtype=np.uint8)
    for k in (2, 8, 20):
        html = ImageSet(x, np.arange(20) % k, np.arange(20), [f'<class {i}>' for i in range(k)])._repr_html_()
        assert len(html) < 30_000 and '<class' not in html and '&lt;class 1' in html

def test_splits_refuse():
    make = lambda ids, labels=(0, 1), size=2, classes=('x', 'y'), groups=None: ImageSet(np.zeros((len(ids), 3, size, size), np.uint8), labels, ids, classes, groups)
    a, b, c = make([1, 2]), make([3, 4]), make([5, 6])
    assert [len(s) for s in Splits(a, b, c)] == [2, 2, 2]
    raises(lambda: Splits(a, b, make([2, 6])), 'Id 2', 'train', 'test')
    raises(lambda: Splits(a, b.subset([]), c), 'val holds no image')
    raises(lambda: Splits(a, b, make([5, 6], classes=('y', 'x'))), 'test has classes')
    raises(lambda: Splits(a, b, make([5, 6], size=3)), 'test has images')
    raises(lambda: Splits(make([1, 2], (0, 0)), b, c), "Class 'y'", 'no image in train')
    raises(lambda: Splits(make([1, 2], groups=['p', 'q']), make([3, 4], groups=['r', 'q']), c), 'Group q', 'train (image 2)', 'val (image 4)')


# ---- properties

@settings(deadline=None, max_examples=60)
@given(st.data())
def test_split_rows_keeps_groups_and_rows(draw):
    n = draw.draw(st.integers(0, 60)); seed = draw.draw(st.integers(0, 99))
    labels = np.array(draw.draw(st.lists(st.integers(0, 4), min_size=n, max_size=n)), np.int64)
    groups = draw.draw(st.none() | st.lists(st.integers(0, 15), min_size=n, max_size=n).map(np.array))
    parts = split_rows(labels, groups, (0.7, 0.1, 0.2), numpy_rng(seed))
    assert sorted(np.concatenate(parts).tolist()) == list(range(n))
    assert all((np.diff(p) > 0).all() for p in parts)
    if groups is not None and n: assert sum(len(set(groups[p])) for p in parts) == len(set(groups))
    again = split_rows(labels, groups, (0.7, 0.1, 0.2), numpy_rng(seed))
    assert all((a == b).all() for a, b in zip(parts, again))

@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 50), min_size=1, max_size=6), st.integers(0, 99))
def test_split_rows_without_groups_keeps_proportions(counts, seed):
    labels = np.repeat(np.arange(len(counts)), counts)
    parts = split_rows(labels, None, (0.7, 0.1, 0.2), numpy_rng(seed))
    for p, fraction in zip(parts, (0.7, 0.1, 0.2)):
        got = np.bincount(labels[p], minlength=len(counts))
        assert (abs(got - fraction*np.array(counts)) < 1).all()
    assert (np.bincount(labels[parts[0]], minlength=len(counts)) > 0).all()

@settings(deadline=None, max_examples=100)
@given(st.lists(st.integers(0, 300), min_size=1, max_size=9).filter(sum), st.data())
def test_quotas_and_stratified(counts, draw):
    counts = np.array(counts); n = draw.draw(st.integers(1, int(counts.sum())))
    take = quotas(counts, n)
    assert take.sum() == n and (take <= counts).all() and (take >= 0).all()
    if n >= (counts > 0).sum(): assert (take[counts > 0] > 0).all()
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    rows = stratified(labels, n, numpy_rng(0))
    assert len(np.unique(rows)) == n and (np.diff(rows) > 0).all()
    if n < len(labels): assert (np.bincount(labels[rows], minlength=len(counts)) == take).all()

def slow_flip_crop(batch, size, generator, flip=True, crop=True):
    "The same draws, one image at a time, in NumPy."
    n, _, h, w = batch.shape
    mirror = torch.rand(n, generator=generator) < 0.5
    top, left = (torch.randint(s-size+1, (n,), generator=generator) for s in (h, w))
    out = []
    for i, image in enumerate(batch.numpy()):
        if flip and mirror[i]: image = image[:, :, ::-1]
        t, l = (int(top[i]), int(left[i])) if crop else (round((h-size)/2), round((w-size)/2))
        out.append(image[:, t:t+size, l:l+size])
    return torch.from_numpy(np.stack(out))

@settings(deadline=None, max_examples=60)
@given(st.integers(1, 6), st.integers(1, 9), st.integers(0, 5), st.integers(0, 5), st.booleans(), st.booleans(), st.integers(0, 99))
def test_flip_crop_equals_the_slow_one(n, size, more_h, more_w, flip, crop, seed):
    batch = torch.randint(0, 256, (n, 3, size+more_h, size+more_w), dtype=torch.uint8, generator=generator(seed, 'batch'))
    fast = flip_crop(batch, size, generator(seed, 'x'), flip, crop)
    assert fast.dtype == torch.uint8 and torch.equal(fast, slow_flip_crop(batch, size, generator(seed, 'x'), flip, crop))

def test_flip_crop_uses_every_place_and_both_sides():
    h = torch.arange(6, dtype=torch.uint8)
    batch = (h[:, None]*10 + h).expand(2000, 3, 6, 6)
    out = flip_crop(batch, 4, generator(0, 'x'))
    seen, count = torch.unique(out[:, 0, 0, 0], return_counts=True)
    assert set(seen.tolist()) == {10*t+c for t in range(3) for c in (0, 1, 2, 3, 4, 5)} and count.min() > 70

def test_flip_crop_without_spare_only_mirrors():
    batch = torch.randint(0, 256, (64, 3, 5, 5), dtype=torch.uint8, generator=generator(0, 'b'))
    out = flip_crop(batch, 5, generator(0, 'x'))
    same, mirrored = ((out == b).flatten(1).all(1) for b in (batch, batch.flip(3)))
    assert (same ^ mirrored).all() and 16 < mirrored.sum() < 48
    assert torch.equal(flip_crop(batch, 5, generator(0, 'x'), flip=False), batch)

@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
def test_flip_crop_is_the_same_on_the_gpu():
    batch = torch.randint(0, 256, (32, 3, 64, 64), dtype=torch.uint8, generator=generator(0, 'b'))
    a, b = flip_crop(batch, 56, generator(0, 'x')), flip_crop(batch.cuda(), 56, generator(0, 'x'))
    assert b.is_cuda and torch.equal(a, b.cpu())

def test_crops_refuse():
    assert flip_crop(torch.zeros(0, 3, 4, 4, dtype=torch.uint8), 2, generator(0, 'x')).shape == (0, 3, 2, 2)
    raises(lambda: center_crop(torch.zeros(1, 3, 4, 4), 2), 'float32', 'uint8')
    raises(lambda: center_crop(torch.zeros(1, 3, 4, 4, dtype=torch.uint8), 5), 'Cannot crop 5', '4 x 4')

def test_center_crop_is_torchvisions():
    from torchvision.transforms.functional import center_crop as theirs
    for h, w, size in ((256, 256, 224), (9, 8, 4), (7, 10, 5)):
        batch = torch.randint(0, 256, (2, 3, h, w), dtype=torch.uint8, generator=generator(0, h))
        assert torch.equal(center_crop(batch, size), theirs(batch, [size, size]))

@settings(deadline=None)
@given(st.integers(0, 50), st.integers(1, 60), st.booleans())
def test_epoch_batches_show_every_row_once(n, size, shuffle):
    batches = list(epoch_batches(n, size, generator(0, n) if shuffle else None))
    rows = torch.cat(batches) if batches else torch.zeros(0)
    assert sorted(rows.tolist()) == list(range(n)) and all(len(b) == size for b in batches[:-1])
    assert all(b.dtype == torch.int64 for b in batches)

def test_global_random_state_is_untouched(folder):
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    s = from_folder(folder, 8, limit=8)
    flip_crop(s.train.batch([0, 1]), 6, generator(0, 'x')); list(epoch_batches(5, 2, generator(0, 'y')))
    assert torch.equal(before[0], torch.random.get_rng_state()) and (before[1] == np.random.get_state()[1]).all() and before[2] == random.getstate()


# ---- what a file can be

def encoded(image, kind, **kwargs):
    f = io.BytesIO(); image.save(f, kind, **kwargs)
    return f.getvalue()

def opened(bytes_): return np.asarray(read_image(lambda _: bytes_, 'x'))

def test_modes_become_rgb():
    rgb = Image.fromarray(np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8))
    grey = np.asarray(rgb.convert('L'))
    assert (opened(encoded(rgb, 'PNG')) == np.asarray(rgb)).all()
    assert (opened(encoded(rgb.convert('L'), 'PNG')) == grey[..., None]).all()
    assert set(np.unique(opened(encoded(rgb.convert('1'), 'PNG')))) == {0, 255}
    palette = rgb.quantize(8)
    assert (opened(encoded(palette, 'PNG')) == np.asarray(palette.convert('RGB'))).all()
    cmyk = rgb.convert('CMYK')
    assert (opened(encoded(cmyk, 'TIFF')) == np.asarray(cmyk.convert('RGB'))).all()
    assert opened(encoded(cmyk, 'JPEG')).shape == opened(encoded(rgb.convert('YCbCr'), 'JPEG')).shape == (6, 5, 3)

def test_transparency_is_laid_on_black():
    rgba = np.full((2, 2, 4), 200, np.uint8); rgba[..., 3] = [[0, 255], [128, 51]]
    expected = np.array([[0, 200], [100, 40]])
    assert (abs(opened(encoded(Image.fromarray(rgba), 'PNG')) - expected[..., None]) <= 1).all()
    assert (abs(opened(encoded(Image.fromarray(rgba).convert('LA'), 'PNG')) - expected[..., None]) <= 1).all()
    palette = Image.fromarray(np.array([[0, 1]], np.uint8)).convert('P'); palette.putpalette([250, 0, 0, 0, 250, 0])
    assert opened(encoded(palette, 'PNG', transparency=0)).tolist() == [[[0, 0, 0], [0, 250, 0]]]
    assert opened(encoded(Image.new('RGB', (1, 1), (9, 9, 9)), 'PNG', transparency=(9, 9, 9))).tolist() == [[[0, 0, 0]]]

def test_sixteen_bits_are_scaled_not_clipped():
    deep = np.array([[0, 128, 129, 257, 4095, 32768, 65406, 65535]], np.uint16)
    expected = np.round(deep/257).astype(np.uint8)
    for kind in ('PNG', 'TIFF'): assert (opened(encoded(Image.fromarray(deep), kind)) == expected[..., None]).all()
    big = Image.frombytes('I;16B', (8, 1), deep.astype('>u2').tobytes())
    assert (np.asarray(to_rgb(big)) == expected[..., None]).all()

def test_sixteen_bit_colour_keeps_its_range():
    "Pillow takes the high byte here: at most one level from exact."
    row = np.array([0, 255, 256, 32768, 65280, 65535], np.uint16)
    raw = b'\0' + np.repeat(row, 3).astype('>u2').tobytes()
    chunk = lambda kind, body: struct.pack('>I', len(body)) + kind + body + struct.pack('>I', zlib.crc32(kind+body))
    png = b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', struct.pack('>IIBBBBB', 6, 1, 16, 2, 0, 0, 0)) + chunk(b'IDAT', zlib.compress(raw)) + chunk(b'IEND', b'')
    assert abs(opened(png)[0, :, 0].astype(float) - row/257).max() <= 1

def test_exif_orientation_is_applied():
    turned = Image.fromarray(np.arange(6, dtype=np.uint8).reshape(2, 3)*40)
    exif = Image.Exif(); exif[0x0112] = 6
    assert (opened(encoded(turned, 'PNG', exif=exif)) == np.rot90(np.asarray(turned), -1)[..., None]).all()

@pytest.mark.parametrize('image, words', [
    (Image.fromarray(np.full((2, 2), 70000, np.int32)), ['32 bits']),
    (Image.fromarray(np.ones((2, 2), np.float32)), ['32 bits']),
])
def test_unknown_ranges_are_refused(image, words): raises(lambda: opened(encoded(image, 'TIFF')), *words)

def test_several_frames_are_refused():
    frame = Image.new('L', (4, 4))
    raises(lambda: opened(encoded(frame, 'TIFF', save_all=True, append_images=[frame])), '2 frames')

def test_other_formats_and_the_first_view_of_a_phone_picture():
    rgb = Image.fromarray(picture(40))
    for kind in ('BMP', 'GIF', 'PPM', 'TIFF'): assert (opened(encoded(rgb, kind)) == picture(40)).all()
    for kind in ('WEBP', 'JPEG2000'): assert abs(opened(encoded(rgb, kind)).astype(int) - picture(40)).max() < 8
    phone = encoded(rgb, 'MPO', save_all=True, append_images=[Image.fromarray(picture(90))], quality=100)
    assert Image.open(io.BytesIO(phone)).format == 'MPO' and abs(opened(phone).astype(int) - picture(40)).max() < 8

def test_resize_ignores_the_shape_and_is_antialiased():
    stripes = np.zeros((60, 80, 3), np.uint8); stripes[:, ::2] = 255
    small = decode(1, lambda i: Image.fromarray(stripes), 20)
    assert small.shape == (1, 3, 20, 20) and abs(small[..., 3:-3].astype(int) - 127).max() < 20
    assert (resized(stripes.transpose(2, 0, 1)[None], 20) == small).all()

def test_half_files_are_never_half_images(monkeypatch):
    monkeypatch.setattr(ImageFile, 'LOAD_TRUNCATED_IMAGES', True)
    raises(lambda: decode(0, None, 8), 'LOAD_TRUNCATED_IMAGES', 'False')
    monkeypatch.setattr(ImageFile, 'LOAD_TRUNCATED_IMAGES', False)
    for size in (0, -1, 2.5, None): raises(lambda: decode(0, None, size), 'pixels')

def noise_file(kind): return encoded(Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)), kind)

@pytest.mark.parametrize('name, content, word', [
    ('x.jpg', noise_file('JPEG')[:1500], 'truncated'),
    ('x.png', noise_file('PNG')[:1500], 'truncated'),
    ('x.tif', noise_file('TIFF')[:1500], ''),
    ('x.bmp', noise_file('BMP')[:1500], 'truncated'),
    ('x.jpg', b'', 'empty'),
    ('x.jpg', b'see the other folder', 'not an image'),
    ('x.jpg', b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EOF\n', 'not an image'),
    ('x.png', noise_file('PNG')[:300] + b'????' + noise_file('PNG')[304:], ''),
])
@pytest.mark.parametrize('source', ['folder', 'csv', 'zip'])
def test_a_bad_file_stops_every_reader(tmp_path, source, name, content, word):
    for i in range(20): save(tmp_path/'s'/'ab'[i % 2]/f'{i}.png', i)
    (tmp_path/'s'/'a'/name).write_bytes(content)
    files = sorted(p.relative_to(tmp_path/'s').as_posix() for p in (tmp_path/'s').rglob('*.*'))
    columns = dict(file=files, label=[f[0] for f in files])
    if source == 'folder': read = lambda: from_folder(tmp_path/'s', 8)
    if source == 'csv': read = functools.partial(from_csv, write_csv(tmp_path/'s'/'labels.csv', **columns), 8)
    if source == 'zip':
        with zipfile.ZipFile(tmp_path/'s.zip', 'w') as z:
            z.writestr('labels.csv', pd.DataFrame(columns).to_csv(index=False))
            for f in files: z.write(tmp_path/'s'/f, 'images/'+f)
        read = lambda: from_zip(tmp_path/'s.zip', 8)
    raises(read, f'a/{name} cannot be used', word, 'no other image')


# ---- folders

def test_folder_split_here(folder):
    s = from_folder(folder, 8, group=r'(p\d+)_')
    assert sorted(sum((told(x.images) for x in s), [])) == list(range(40))
    for x in s:
        assert [int(i.split('_')[1][:-4]) for i in x.ids] == told(x.images)
        assert [x.classes[l] for l in x.labels] == [i.split('/')[0] for i in x.ids]
    assert s.train.classes == ('mel', 'nv') and not set(s.train.groups) & set(s.test.groups)
    assert [told(x.images) for x in s] == [told(x.images) for x in from_folder(folder, 8, group=r'p\d+')]

def test_folder_with_splits_and_equal_names(tmp_path):
    for split, n in (('train', 3), ('valid', 1), ('test', 2)):
        for c in 'ab':
            for i in range(n): save(tmp_path/split/c/f'{i}.png', 10*i + ord(c)-97)
    (tmp_path/'train'/'a'/'Thumbs.db').touch(); (tmp_path/'train'/'a'/'.DS_Store').touch(); (tmp_path/'README.txt').touch()
    s = load(tmp_path, 8)
    assert [len(x) for x in s] == [6, 2, 4] and s.val.ids.tolist() == ['valid/a/0.png', 'valid/b/0.png']
    assert [str(c) for c in from_folder(tmp_path, 8, classes=('b', 'a')).train.classes] == ['b', 'a']

def test_validation_is_taken_from_train(tmp_path):
    for split, n in (('train', 16), ('test', 2)):
        for c in 'ab':
            for i in range(n): save(tmp_path/split/c/f'{i}.png', i)
    s = from_folder(tmp_path, 8)
    assert s.table().loc['all'].tolist() == [28, 4, 4] and all(i.startswith('train/') for i in s.val.ids)

def test_bad_folders(folder, tmp_path):
    raises(lambda: from_folder(tmp_path/'nowhere', 8), 'nowhere', 'not a folder')
    (tmp_path/'bare').mkdir(); raises(lambda: from_folder(tmp_path/'bare', 8), 'bare', 'no class folders')
    raises(lambda: from_folder(folder, 8, group=r'q\d'), "'q", 'finds nothing in mel/')
    raises(lambda: from_folder(folder, 8, classes=('mel', 'df')), 'nv/', 'mel, df')
    raises(lambda: from_folder(folder, 8, classes=('mel', 'nv', 'df')), 'scans', "Class 'df'", 'train')
    save(folder/'loose.png', 1); raises(lambda: from_folder(folder, 8), 'loose.png', 'no label'); (folder/'loose.png').unlink()
    (folder/'nv'/'notes.docx').touch(); raises(lambda: from_folder(folder, 8), 'notes.docx', 'Convert it')

def test_a_group_that_straddles_given_folders(tmp_path):
    for split in ('train', 'val', 'test'):
        for c in 'ab': save(tmp_path/split/c/f'{split if split != "test" else "train"}_{c}.png', 1)
    raises(lambda: from_folder(tmp_path, 8, group=r'(\w+)_\w.png'), 'Group', 'train', 'test', 'by class and group')

def test_a_limit_decodes_no_more_than_it_needs(folder, monkeypatch):
    calls, read = [], files.file_bytes
    monkeypatch.setattr(files, 'file_bytes', lambda p: calls.append(p) or read(p))
    s = from_folder(folder, 8, limit=8)
    whole = from_folder(folder, 8)
    assert [len(x) for x in s] == [8, 2, len(whole.test)]
    assert len(calls[:-40]) == len(set(calls[:-40])) == sum(map(len, s))
    assert set(s.train.ids) < set(whole.train.ids) and s.test.ids.tolist() == whole.test.ids.tolist()
    assert from_folder(folder, 8, limit=8, seed=1).train.ids.tolist() != s.train.ids.tolist()
    raises(lambda: from_folder(folder, 8, limit=1), 'limit=1')


# ---- tables

def test_csv(tmp_path, table):
    s = from_csv(write_csv(tmp_path/'t.csv', **table), 8)
    assert [told(x.images) for x in s] == [list(range(15)), list(range(15, 21)), list(range(21, 30))]
    assert s.train.classes == ('df', 'mel', 'nv') and s.train.labels[:3].tolist() == [2, 1, 0] and s.test.groups[0] == 'p7'
    free = from_csv(tmp_path/'t.csv', 8, split=False)
    assert sorted(sum((told(x.images) for x in free), [])) == list(range(30)) and len(free.train) != 15
    assert from_csv(tmp_path/'t.csv', 8, group=False).train.groups is None

@pytest.mark.parametrize('sep', [';', '\t'])
def test_other_separators(tmp_path, table, sep):
    (tmp_path/'t.csv').write_bytes(b'\xef\xbb\xbf' + pd.DataFrame(table).to_csv(index=False, sep=sep).encode() + b'\n\n')
    assert told(from_csv(tmp_path/'t.csv', 8).train.images) == list(range(15))

def test_names_without_suffix_other_roots_and_zeros(tmp_path, table):
    (tmp_path/'pixels').mkdir()
    for i in range(30): (tmp_path/f'{i:03}.png').rename(tmp_path/'pixels'/(f'{i:03}.PNG' if i % 2 else f'{i:03}.png'))
    table['file'] = [f'{i:03}' for i in range(30)]
    csv = write_csv(tmp_path/'t.csv', **table)
    s = from_csv(csv, 8, root=tmp_path/'pixels')
    assert told(s.train.images) == list(range(15)) and s.train.ids[:2].tolist() == ['000', '001']
    raises(lambda: from_csv(csv, 8), 't.csv, line 2', "'000'", 'images')
    (tmp_path/'pixels').rename(tmp_path/'images')
    assert told(from_csv(csv, 8).val.images) == list(range(15, 21))
    table['file'] = [str((tmp_path/'images').resolve()/f) for f in table['file']]
    assert told(from_csv(write_csv(tmp_path/'t.csv', **table), 8, root='elsewhere').val.images) == list(range(15, 21))

def test_numbers_as_labels(tmp_path, table):
    table['label'] = [2, 10, 0]*10
    csv = write_csv(tmp_path/'t.csv', **table)
    assert from_csv(csv, 8).train.classes == ('0', '2', '10')
    raises(lambda: from_csv(csv, 8, classes=('a', 'b', 'c')), 'line 3', "'10'", '0, 1, 2')
    table['label'] = [2, 1, 0]*10
    s = from_csv(write_csv(tmp_path/'t.csv', **table), 8, classes=('a', 'b', 'c'))
    assert s.train.classes == ('a', 'b', 'c') and s.train.labels[:3].tolist() == [2, 1, 0]

def test_class_goes_before_label_and_may_be_overruled(tmp_path, table):
    table['class'] = ['x', 'y', 'y']*10
    csv = write_csv(tmp_path/'t.csv', **table)
    assert from_csv(csv, 8).train.classes == ('x', 'y') and from_csv(csv, 8, label='label').train.classes == ('df', 'mel', 'nv')

def changed(table, row=None, **changes):
    table = {k: list(v) for k, v in table.items()}
    for k, v in changes.items():
        if row is None: table[k] = v
        else: table[k][row] = v
    return table

@pytest.mark.parametrize('row, changes, words', [
    (4, dict(file='gone.png'), ['line 6', "'gone.png'"]),
    (4, dict(file=''), ['line 6', 'image is missing']),
    (4, dict(file='003.png'), ['line 5 and line 6', '003.png']),
    (4, dict(file='003'), ['line 5 and line 6', 'file']),
    (4, dict(label=''), ['line 6', 'label is missing']),
    (4, dict(split='tset'), ['line 6', "'tset'", 'train, val or test']),
    (4, dict(split=''), ['line 6']),
    (4, dict(patient='p9'), ['Group p9', 'train (image 004.png)', 'test']),
    (4, dict(patient=''), ['line 6', 'group is missing', 'group=False']),
    (None, dict(label=['nv']*30), ['1 class']),
    (None, dict(label=['nv', 'mel']*10 + ['df']*10), ["'df'", 'no image in train']),
    (None, dict(split=['train']*30), ['test holds no image']),
    (None, dict(split=['test']*30), ['train holds no image']),
])
def test_bad_tables(tmp_path, table, row, changes, words):
    csv = write_csv(tmp_path/'t.csv', **changed(table, row, **changes))
    raises(lambda: from_csv(csv, 8), *words, *([] if 'Group' in words[0] else ['t.csv'] if len(words) > 1 else []))

def test_the_listing_is_checked_before_anything_is_decoded(tmp_path, table, monkeypatch):
    monkeypatch.setattr(reading, 'read_image', lambda fetch, name, *_: pytest.fail(f'{name} was read'))
    for changes, word in ((dict(patient='p9'), 'Group p9'), (dict(label=''), 'label'), (dict(file='gone'), 'gone'), (dict(split='x'), "'x'")):
        raises(lambda: from_csv(write_csv(tmp_path/'t.csv', **changed(table, 4, **changes)), 8), word)
    raises(lambda: from_csv(write_csv(tmp_path/'t.csv', **table), 8, classes=('df', 'mel', 'nv', 'x')), "'x'")

def test_labels_outside_named_classes(tmp_path, table):
    csv = write_csv(tmp_path/'t.csv', **changed(table, 4, label='mell'))
    raises(lambda: from_csv(csv, 8, classes=('df', 'mel', 'nv')), 't.csv, line 6', "'mell'", 'df, mel, nv')
    raises(lambda: from_csv(write_csv(tmp_path/'t.csv', **table), 8, classes=('df', 'mel', 'nv', 'bcc')), "'bcc'", 'train')

def test_bad_columns(tmp_path, table):
    csv = write_csv(tmp_path/'t.csv', **table)
    raises(lambda: from_csv(csv, 8, image='flie'), 'image column', "'flie'", "'file'", 't.csv')
    raises(lambda: from_csv(csv, 8, group='patients'), 'group column', "'patient'")
    table['finding'] = table.pop('label')
    raises(lambda: from_csv(write_csv(csv, **table), 8), 'no label column', 'finding', 'label=...')
    table['scan'] = table.pop('file')
    raises(lambda: from_csv(write_csv(csv, **table), 8), 'no image column', 'scan', 'image=...')

@pytest.mark.parametrize('content, words', [
    (b'', ['cannot be read as a table']),
    (b'file,label\n', ['no row']),
    (b'file,label\na.png,nv\nb.png,nv,mel\n', ['line 3']),
    (b'file,label\n\xff\xfe.png,nv\n', ['UTF-8']),
    (b'file,label\n000.png,nv\n\n001.png,mel\n', ['line 3', 'image is missing']),
])
def test_unreadable_tables(tmp_path, table, content, words):
    (tmp_path/'t.csv').write_bytes(content)
    raises(lambda: from_csv(tmp_path/'t.csv', 8), 't.csv', *words)
    raises(lambda: from_csv(tmp_path/'no.csv', 8), 'no.csv', 'no table')


# ---- arrays

def test_arrays_refuse():
    x, y = np.zeros((10, 3, 4, 4), np.uint8), [0, 1]*5
    raises(lambda: from_arrays(x/1., y), 'float64')
    raises(lambda: from_arrays(x, np.array(y, float)), 'floats')
    raises(lambda: from_arrays(x, np.array(y)[:, None]), '[10, 1]')
    raises(lambda: from_arrays(x, ['a', None]*5), 'row 1', 'label is missing')
    raises(lambda: from_arrays(x, [0, 1]*4 + [1, -1]), 'row 9', "'-1'", '0, 1')
    raises(lambda: from_arrays(x, y, ids=list('abcdefghia')), 'row 0 and row 9', 'id a')
    raises(lambda: from_arrays(x[:3], y[:3]), 'holds no image', 'too few')
    raises(lambda: from_arrays(x, [0]*9 + [1], split=['train']*7 + ['val', 'test', 'test']), "Class '1'", 'train')

def test_arrays_keep_rows_together():
    x = np.arange(60, dtype=np.uint8)[:, None, None].repeat(4, 1).repeat(4, 2)
    s = from_arrays(x, np.arange(60) % 3, groups=np.arange(60)//2, seed=5)
    assert sorted(sum((told(p.images) for p in s), [])) == list(range(60))
    assert all(told(p.images) == p.ids.tolist() and (p.labels == p.ids % 3).all() and (p.groups == p.ids//2).all() for p in s)


# ---- zips

def test_zip_in_a_folder_and_without_table(tmp_path, table):
    with zipfile.ZipFile(tmp_path/'a.zip', 'w') as z:
        z.writestr('set/labels.csv', pd.DataFrame(table).to_csv(index=False)); z.writestr('__MACOSX/set/labels.csv', b'')
        for i in range(30): z.write(tmp_path/f'{i:03}.png', f'set/images/{i:03}.png')
    assert told(load(tmp_path/'a.zip', 8).train.images) == list(range(15))
    with zipfile.ZipFile(tmp_path/'b.zip', 'w') as z: z.write(tmp_path/'000.png', '000.png')
    raises(lambda: load(tmp_path/'b.zip', 8), 'b.zip', 'a table labels.csv', '000.png')
    (tmp_path/'c.zip').write_bytes((tmp_path/'a.zip').read_bytes()[:-60])
    raises(lambda: load(tmp_path/'c.zip', 8), 'c.zip', 'not a complete zip')
    raises(lambda: from_zip(tmp_path/'d.zip', 8), 'd.zip')

def test_zip_member_with_a_wrong_checksum(tmp_path, table):
    with zipfile.ZipFile(tmp_path/'a.zip', 'w') as z:
        z.writestr('labels.csv', pd.DataFrame(table).to_csv(index=False))
        for f in table['file']: z.write(tmp_path/f, f)
    content = (tmp_path/'007.png').read_bytes(); whole = (tmp_path/'a.zip').read_bytes()
    at = whole.index(content) + len(content) - 20
    assert whole.count(content) == 1
    (tmp_path/'a.zip').write_bytes(whole[:at] + bytes([whole[at] ^ 255]) + whole[at+1:])
    raises(lambda: from_zip(tmp_path/'a.zip', 8), '007.png', 'CRC')

def real(name):
    if not (REAL/name).is_file(): pytest.skip(f'{name} is not in {REAL}; set CUFIT_DATA to the folder that has it')
    return REAL/name

@pytest.mark.parametrize('name, columns, classes, counts', [
    ('pbc_blood_128.zip', dict(image='file', label='class'), 8, (11948, 1708, 2319)),
    ('ham10000_200x150.zip', dict(image='image_id', label='dx', group='lesion_id'), 7, (6989, 1015, 2011)),
])
def test_real_zips(name, columns, classes, counts):
    path = real(name)
    s = load(path, 32, limit=80, **columns)
    assert s.table().loc['all'].tolist() == [80, 20, counts[2]] and len(s.train.classes) == classes
    assert [x.ids.tolist() for x in load(path, 32, limit=80)][:2] == [s.train.ids.tolist(), s.val.ids.tolist()]   # the same columns, guessed
    with zipfile.ZipFile(path) as z:
        labels = pd.read_csv(z.open('labels.csv'), dtype=str)
        assert tuple((labels.split == x).sum() for x in imageset.SPLITS) == counts
        by_id = labels.set_index(columns['image'])[columns['label']]
        for i in (0, 7, 79):
            member = s.train.ids[i] if 'images' in s.train.ids[i] else f'images/{s.train.ids[i]}.jpg'
            expected = np.asarray(Image.open(z.open(member)).resize((32, 32), Image.Resampling.BICUBIC)).transpose(2, 0, 1)
            assert (s.train.images[i] == expected).all() and s.train.classes[s.train.labels[i]] == by_id[s.train.ids[i]]

@pytest.mark.parametrize('name, counts', [('breastmnist', (546, 78, 156)), ('pneumoniamnist', (4708, 524, 624))])
def test_real_npz(name, counts):
    s = load(real(f'{name}.npz'), 28)
    with np.load(REAL/f'{name}.npz') as z: assert (s.test.images[:, 1] == z['test_images']).all() and (s.test.labels == z['test_labels'].ravel()).all()
    assert tuple(map(len, s)) == counts and s.train.classes == tuple(medmnist.INFO[name]['label'].values())


# ---- HAM10000 and APTOS-2019

@pytest.mark.parametrize('layout', ['parts', 'one', 'nested', 'beside'])
def test_ham10000_layouts(tmp_path, layout):
    place = dict(parts=lambda i: f'HAM10000_images_part_{1+i//30}', one=lambda i: 'images', beside=lambda i: '.',
                 nested=lambda i: f'HAM10000_images_part_{1+i//30}/HAM10000_images_part_{1+i//30}')[layout]
    for i in range(60): save(tmp_path/place(i)/f'ISIC_{i:07}.jpg', i, quality=100)
    columns = dict(lesion_id=[f'HAM_{i//2}' for i in range(60)], image_id=[f'ISIC_{i:07}' for i in range(60)],
                   dx=[('nv', 'mel', 'df')[i//2 % 3] for i in range(60)], dx_type=['histo']*60, age=['']*60)
    write_csv(tmp_path/'HAM10000_metadata.csv', **columns)
    s = load(tmp_path, 8)
    assert sum(map(len, s)) == 60 and s.train.classes == ('df', 'mel', 'nv') and readers.find_source(tmp_path).name == "ham10000"
    for x in s:
        n = np.array([int(i[5:]) for i in x.ids])
        assert (abs(x.images[:, 0, 0, 0] - n) < 5).all() and x.groups.tolist() == [f'HAM_{i//2}' for i in n]
    raises(lambda: load(tmp_path, 8, label='dx'), "'label'", 'ham10000')

def test_aptos2019_layout(tmp_path):
    for i in range(50): save(tmp_path/'train_images'/f'{i:012x}.png', i)
    write_csv(tmp_path/'train.csv', id_code=[f'{i:012x}' for i in range(50)], diagnosis=[i % 5 for i in range(50)])
    s = load(tmp_path, 8)
    assert s.train.classes == catalog.APTOS_CLASSES and s.table().loc['all'].tolist() == [35, 5, 10]
    assert all((x.labels == x.images[:, 0, 0, 0] % 5).all() for x in s)
    raises(lambda: ham10000(tmp_path, 8), 'HAM10000_metadata.csv')
    (tmp_path/'train_images'/f'{3:012x}.png').unlink()
    raises(lambda: aptos2019(tmp_path, 8), 'train.csv, line 5', f'{3:012x}', 'train_images')


# ---- MedMNIST

def npz_bytes(size=28, n=(20, 6, 8), colour=True, flat=False, **changes):
    first, arrays = 0, {}
    for split, m in zip(imageset.SPLITS, n):
        i = np.arange(first, first+m)
        x = np.broadcast_to(i[:, None, None].astype(np.uint8), (m, size, size))
        arrays[f'{split}_images'] = np.stack([x]*3, -1) if colour else x
        arrays[f'{split}_labels'] = (i % 8).astype(np.uint8) if flat else (i % 8).astype(np.uint8)[:, None]
        first += m
    f = io.BytesIO(); np.savez(f, **{k: v for k, v in {**arrays, **changes}.items() if v is not None})
    return f.getvalue()

@pytest.fixture
def site(tmp_path, monkeypatch):
    "A web server in place of the official one; `files` maps a path to (bytes sent, Content-Length)."
    files, asked = {}, []
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            if self.path not in files: return self.send_error(404)
            body, length = files[self.path]
            self.send_response(200); self.send_header('Content-Length', str(length)); self.end_headers()
            self.wfile.write(body)
        def log_message(self, *_): pass
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True); thread.start()
    for proxy in ('http_proxy', 'HTTP_PROXY', 'all_proxy', 'ALL_PROXY'): monkeypatch.delenv(proxy, raising=False)
    monkeypatch.setenv('CUFIT_DATA_HOME', str(tmp_path/'home'))
    info = dict(medmnist.INFO['bloodmnist'])
    for size in (28, 64):
        tail = '' if size == 28 else f'_{size}'; body = npz_bytes(size)
        files[f'/blood{tail}'] = body, len(body)
        info |= {f'url{tail}': f'http://127.0.0.1:{server.server_port}/blood{tail}', f'MD5{tail}': hashlib.md5(body).hexdigest()}
    monkeypatch.setitem(medmnist.INFO, 'bloodmnist', info)
    yield files, asked
    server.shutdown(); server.server_close(); thread.join()

def left(tmp_path): return sorted(p.name for p in (tmp_path/'home').iterdir()) if (tmp_path/'home').exists() else []

def test_download_once_and_read(site, tmp_path):
    for _ in range(2): s = load('bloodmnist', 28)
    assert site[1] == ['/blood'] and left(tmp_path) == ['bloodmnist.npz']
    assert tuple(map(len, s)) == (20, 6, 8) and told(s.val.images) == list(range(20, 26)) and s.val.ids[0] == 'val/0'
    assert s.train.classes[0] == 'basophil' and (s.test.labels == np.arange(26, 34) % 8).all()

def test_the_smallest_file_that_is_large_enough(site, tmp_path):
    assert from_medmnist('bloodmnist', 40).train.images.shape[2:] == (40, 40) and site[1] == ['/blood_64']
    assert from_medmnist('bloodmnist').train.images.shape[2:] == (28, 28) and left(tmp_path) == ['bloodmnist.npz', 'bloodmnist_64.npz']
    assert from_medmnist(download('bloodmnist', 64)).train.images.shape[2:] == (64, 64) and len(site[1]) == 2
    raises(lambda: download('bloodmnist', 32), "'32'", '28, 64, 128, 224')

def test_a_corrupt_download_leaves_nothing(site, tmp_path):
    body, n = site[0]['/blood']
    site[0]['/blood'] = body[:-1] + b'?', n
    raises(lambda: download('bloodmnist'), 'bloodmnist', 'MD5', 'damaged')
    assert left(tmp_path) == []

def test_an_interrupted_download_leaves_nothing(site, tmp_path):
    body, n = site[0]['/blood']
    site[0]['/blood'] = body[:n//2], n
    raises(lambda: download('bloodmnist'), 'cannot be downloaded', str(tmp_path/'home'/'bloodmnist.npz'))
    assert left(tmp_path) == []
    site[0]['/blood'] = body, n
    assert download('bloodmnist').read_bytes() == body

def test_a_missing_page_and_no_network(site, tmp_path):
    raises(lambda: download('bloodmnist', url=medmnist.INFO['bloodmnist']['url']+'_gone'), '404', 'put it here', 'bloodmnist.npz')
    md5 = medmnist.INFO['bloodmnist']['MD5']
    raises(lambda: download('bloodmnist', url='http://127.0.0.1:1/x'), 'cannot be downloaded', 'put it here', md5)
    (tmp_path/'home').mkdir(exist_ok=True); (tmp_path/'home'/'bloodmnist.npz').write_bytes(npz_bytes())   # by hand, as the message says
    assert len(load('bloodmnist', 28).train) == 20 and site[1] == ['/blood_gone']

def test_a_downloaded_file_is_verified_on_every_load(site, tmp_path):
    path = download('bloodmnist')
    path.write_bytes(npz_bytes(n=(21, 6, 8)))
    for read in (lambda: load('bloodmnist', 28), lambda: load(path, 28), lambda: from_medmnist(path)): raises(read, 'bloodmnist.npz', 'MD5', 'Delete it')
    mine = path.rename(tmp_path/'bloodmnist.npz')   # elsewhere it is the user's own file
    assert len(from_medmnist(mine).train) == 21

def test_another_download_folder_is_verified_too(site, tmp_path):
    path = download('bloodmnist', folder=tmp_path/'elsewhere')
    assert len(from_medmnist('bloodmnist', folder=tmp_path/'elsewhere').train) == 20 and left(tmp_path) == []
    path.write_bytes(npz_bytes(n=(21, 6, 8)))
    raises(lambda: from_medmnist('bloodmnist', folder=tmp_path/'elsewhere'), 'MD5', str(path))

def test_npz_shapes(tmp_path):
    for kwargs in (dict(flat=True), dict(colour=False), dict(size=64)):
        (tmp_path/'mine.npz').write_bytes(npz_bytes(**kwargs))
        s = load(tmp_path/'mine.npz', 28, limit=8)
        assert tuple(map(len, s)) == (8, 2, 8) and s.train.images.shape[1:] == (3, 28, 28) and s.train.classes == tuple('01234567')
        assert told(s.train.images) == [int(i.split('/')[1]) for i in s.train.ids]

@pytest.mark.parametrize('content, words', [
    (npz_bytes(val_labels=None), ["'val_labels'", 'train_images']),
    (npz_bytes(val_labels=np.zeros((6, 14), np.uint8)), ['multi-label', '[6, 14]']),
    (npz_bytes(val_labels=np.zeros((5, 1), np.uint8)), ['6 val images', '5 labels']),
    (npz_bytes(val_images=np.zeros((6, 28, 28, 28), np.uint8)), ['val_images', '[6, 28, 28, 28]']),
    (npz_bytes(val_images=np.zeros((6, 28, 28, 3), np.float32)), ['val_images', 'float32']),
    (npz_bytes()[:2000], ['not a complete npz']),
    (b'', ['not a complete npz']),
])
def test_bad_npz(tmp_path, content, words):
    (tmp_path/'mine.npz').write_bytes(content)
    raises(lambda: load(tmp_path/'mine.npz', 28), 'mine.npz', *words)

def test_medmnist_tasks_that_do_not_fit(tmp_path):
    raises(lambda: load('chestmnist', 28), 'multi-label')
    raises(lambda: load('organmnist3d', 28), 'volumes')
    raises(lambda: from_medmnist('bloodmnits', 28), "'bloodmnist'")
    (tmp_path/'breastmnist.npz').write_bytes(npz_bytes())
    raises(lambda: load(tmp_path/'breastmnist.npz', 28), 'train/2', "'2'", '0, 1')


# ---- load

def test_load_names_what_it_accepts(tmp_path):
    for source in ('clels', tmp_path/'gone.zip', 'bloodmnits'): raises(lambda: load(source, 8), str(source), 'neither a file nor a folder', '.zip', 'bloodmnist')
    (tmp_path/'x.rar').touch(); raises(lambda: load(tmp_path/'x.rar', 8), 'x.rar', 'another kind')

def test_load_refuses_options_of_other_readers(tmp_path, table):
    csv = write_csv(tmp_path/'labels.csv', **table)
    raises(lambda: load(csv, 8, lable='label'), "'lable'", "'label'")
    assert told(load(tmp_path, 8).train.images) == told(load(str(csv), 8).train.images) == list(range(15))

def test_ham10000_is_fetched_and_read(tmp_path, from_lesson):
    "By the server that the download notebook makes: two archives and a converted table; the second call fetches neither again."
    cells = dict(Image=Image, np=np, io=io, zipfile=zipfile, hashlib=hashlib, json=__import__('json'), threading=threading, BaseHTTPRequestHandler=http.server.BaseHTTPRequestHandler,
                 ThreadingHTTPServer=http.server.ThreadingHTTPServer, parts=list(catalog.HAM_PARTS))
    from_lesson('api/sources.download', cells, 'archive', 'listing', 'Server')
    try:
        folder = catalog.fetch_ham10000(tmp_path/'ham', cells['address'])
        splits = load(folder, 8)
        assert sum(map(len, splits)) == 40 and splits.train.classes == ('mel', 'nv') and splits.train.groups is not None
        asked = [a for a in cells['Server'].asked if 'datafile' in a]
        assert len(asked) == 3 and catalog.fetch_ham10000(folder, cells['address']) == folder
        assert [a for a in cells['Server'].asked if 'datafile' in a] == asked
        cells['Server'].content = {k: v[:-9]+b'x'*9 for k, v in cells['content'].items()}
        raises(lambda: catalog.fetch_ham10000(tmp_path/'damaged', cells['address']), catalog.HAM_PARTS[0], 'MD5')
        assert not list((tmp_path/'damaged').glob('*'))
    finally: cells['server'].shutdown(); cells['server'].server_close()
