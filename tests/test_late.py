"Adapters that begin late, on tokens that were kept: the same curriculum, the same view for all modules, and no step through the blocks before it."
from dataclasses import replace

import numpy as np
import pytest
import torch
from everything import SETS

from cufit.core import CufitError, generator
from cufit.data.images import flip_crop
from cufit.data.imageset import ImageSet
from cufit.frozen.backbone import load_backbone
from cufit.frozen.features import shared_views, tokens_and_features
from cufit.methods.adapters import AdapterTuning, Rein, branch_gflop
from cufit.train import loop
from cufit.train.batch import Batch
from cufit.train.contract import all_methods, load_method
from cufit.methods.curriculum import Cufit
from cufit.methods.probe import Linear
from cufit.train.record import train_config
from cufit.run.cost import estimate

TRAIN, VAL = SETS   # stored at 56 px: eight to spare
CONFIG = train_config(epochs=2, batch_size=8, lr=1e-2, checkpoint_seconds=0)


@pytest.fixture(scope="module")
def vit(): return load_backbone()


def exactly(data, size=48):
    "The same set, stored at the backbone's own size, so that only flips are left."
    cut = (data.images.shape[-1]-size)//2
    return ImageSet(data.images[..., cut:cut+size, cut:cut+size].copy(), data.labels, data.ids, data.classes)


def test_blocks_before_the_first_are_bare_and_the_last_layers_are_the_same(vit):
    "An adapter that begins at block 2 does what one from block 1 does to the tokens that enter block 2, with its later layers."
    torch.manual_seed(0)
    early, late = Rein(vit, scale=1.), Rein(vit, scale=1., begins=2)
    late.load_state_dict(early.state_dict() | dict(tokens=early.tokens[1:]))
    x = torch.randn(3, 3, 48, 48)
    assert late.tokens.shape[0] == vit.depth-2
    assert torch.equal(vit.finish(vit.start(x), 0, late), vit.finish(vit.start(x, 2), 2, early))
    assert late.gflop(vit) == pytest.approx(Rein(vit).gflop(vit)*(vit.depth-2)/(vit.depth-1))


@pytest.mark.parametrize("adapter, first", [("rein", 1), ("lora", 0), ("adaptformer", 0), ("vpt", 0)])
def test_an_adapter_begins_where_it_can_unless_told_otherwise_and_trains_with_cufit(vit, adapter, first):
    assert Cufit(vit, "abc", adapter=adapter).options["begins"] == first and Cufit(vit, "abc", adapter=adapter, begins=2).begins == 2
    method = Cufit(vit, TRAIN.classes, adapter=adapter, begins=2, tokens=2)
    method.fit(TRAIN, VAL, CONFIG)
    bare = Cufit(vit, TRAIN.classes, adapter=adapter, begins=2, tokens=2).modules.state_dict()
    assert all(not torch.equal(v, bare[k]) for k, v in method.modules.state_dict().items() if ".adapter." in k), "every part of the adapter was trained"


@pytest.mark.parametrize("begins", [0, 4, -1, 9])
def test_a_block_that_is_not_there_is_refused(vit, begins):
    with pytest.raises(CufitError, match=f"begins is {begins}; Rein can begin at block 1 to 3"): Cufit(vit, "abc", begins=begins)


def test_views_of_ones_own_and_shared_ones_are_refused_together(vit):
    for method in (Linear, Cufit):
        with pytest.raises(CufitError, match="Give one of them"): method(vit, "abc", views=2, tokens=2)


def on_images(method, batch, drawn):
    "What `step` yields on the images of the very views, cut by hand."
    views = shared_views(method.vit, TRAIN, method.options["tokens"])
    x = torch.stack([flip_crop(TRAIN.batch(batch.index[i:i+1]), 48, draws=tuple(d[batch.index[i:i+1]] for d in views[k]))[0] for i, k in enumerate(drawn.tolist())])
    given = type("Given", (), dict(inputs=("x",), labels=batch.labels, x=method.vit.normalise(x)))()
    return list(method.step(given))


@pytest.mark.parametrize("kind", [Cufit, AdapterTuning])
def test_all_modules_see_the_same_view_and_say_of_its_tokens_what_they_say_of_the_image(vit, kind):
    method = kind(vit, "abc", seed=3, begins=2, tokens=5)
    method.prepare(TRAIN, CONFIG)
    for p in method.modules.parameters(): p.data += 0.01*torch.randn(p.shape, generator=generator(0, str(p.shape)))
    batch = Batch(TRAIN, torch.arange(20), vit, generator(0, "draw"), True, method.reads(True), method.kept)
    drawn, = batch.draws.values()   # one draw for a row
    assert len(set(drawn.tolist())) == 5
    for (name, loss, rows), (other, theirs, those) in zip(method.step(batch), on_images(method, batch, drawn), strict=True):
        assert name == other and torch.equal(rows, those)
        torch.testing.assert_close(loss, theirs, atol=2e-3, rtol=2e-3)   # kept as float16


def test_views_are_those_of_the_images_not_of_the_run(vit, tmp_path):
    "Two seeds and two methods read the same files; nothing else is written, and a lost view alone is made again."
    then = None
    for seed, method in ((0, Cufit), (1, Cufit), (1, AdapterTuning)):
        m = method(vit, "abc", seed, begins=2, tokens=3); m.cache = tmp_path
        m.fit(TRAIN, VAL, replace(CONFIG, epochs=1, seed=seed))
        now = {p.name: p.stat().st_mtime_ns for p in tmp_path.glob("*.npy")}
        assert len(now) == 4 and then in (None, now)   # three views, and validation
        then = now
    assert all(np.load(p, mmap_mode="r").dtype == np.float16 for p in tmp_path.glob("*.npy"))
    gone = next(p for p in tmp_path.glob("*.npy") if len(np.load(p, mmap_mode="r")) == len(TRAIN))
    content = gone.read_bytes(); gone.unlink(); gone.with_suffix(".json").unlink()
    m = AdapterTuning(vit, "abc", 1, begins=2, tokens=3); m.cache = tmp_path   # which has nothing in memory
    m.fit(TRAIN, VAL, replace(CONFIG, epochs=1, seed=1))
    now = {p.name: p.stat().st_mtime_ns for p in tmp_path.glob("*.npy")}
    assert {n for n in now if now[n] != then[n]} == {gone.name} and gone.read_bytes() == content
    more = Cufit(vit, "abc", begins=2, tokens=4); more.cache = tmp_path
    more.fit(TRAIN, VAL, replace(CONFIG, epochs=1))
    assert len(list(tmp_path.glob("*.npy"))) == 5, "of four views three are there"


def test_equal_views_are_kept_once(vit):
    small = exactly(TRAIN)
    kept = {k: Cufit(vit, "abc", begins=2, tokens=k) for k in (1, 2, 8)}
    for k, m in kept.items(): m.prepare(small, CONFIG)
    assert {k: len(m.kept["tokens"]) for k, m in kept.items()} == {1: 1, 2: 2, 8: 2}
    plain, mirrored = kept[8].kept["tokens"]
    run = lambda x: tokens_and_features(2).run(vit, vit.normalise(x)).numpy().astype(np.float16)
    x = torch.tensor(small.images)
    np.testing.assert_allclose(plain, run(x), atol=2e-2); np.testing.assert_allclose(mirrored, run(x.flip(3)), atol=2e-2)
    assert len(kept[8].keep(small, kept[8].reads(True), flip=False, training=True)["tokens"]) == 1


def test_a_trial_keeps_nothing_and_the_estimate_knows_what_will_be_kept(vit, tmp_path):
    for data, n in ((TRAIN, 8), (exactly(TRAIN), 2)):
        m = Cufit(vit, "abc", begins=2, tokens=8); m.cache = tmp_path/"kept"
        val = VAL if n == 8 else exactly(VAL)
        cost = estimate(m, data, val, CONFIG)
        assert not (tmp_path/"kept").exists() and cost.kept_gb == pytest.approx((n*len(data)+len(val))*(vit.tokens+1)*vit.dim*2/1e9)
        per_epoch = len(data)*m.gflop() + len(val)*2*branch_gflop(vit, m.modules["lam"].adapter)[0]
        assert 1e3*cost.tflop == pytest.approx((n*len(data)+len(val))*vit.gflop() + CONFIG.epochs*per_epoch)
    assert m.gflop() < Cufit(vit, "abc").gflop()*0.6


def test_steps_and_validation_touch_no_block_before_the_first_and_the_last_score_sees_images(vit):
    m, seen = Cufit(vit, "abc", begins=2, tokens=2), []
    hooks = [block.block.norm1.register_forward_hook(lambda *_, i=i: seen.append(i)) for i, block in enumerate(vit.blocks)]
    try:
        m.prepare(TRAIN, CONFIG); m.predict(VAL, again=True); seen.clear()
        m.prepare = lambda *args: None   # it is
        m.fit(TRAIN, VAL, CONFIG)
        assert set(seen) == {2, 3}
        seen.clear(); m.predict(VAL)
        assert set(seen) == {0, 1, 2, 3}
    finally:
        for h in hooks: h.remove()
    again, images = (m.evaluate(VAL, again=a)["lam"] for a in (True, False))
    assert not torch.equal(again, images) and (again-images).abs().max() < 0.05


def test_steps_on_tokens_have_all_threads_and_are_read_ahead_from_disk(vit, tmp_path, monkeypatch):
    seen, ahead = set(), []
    monkeypatch.setattr(loop, "fetched_ahead", lambda batches, real=loop.fetched_ahead: ahead.append(1) or real(batches))
    monkeypatch.setattr(loop, "train_step", lambda *args, real=loop.train_step, **kw: seen.add(torch.get_num_threads()) or real(*args, **kw))
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        for method, expected in ((Cufit(vit, "abc", begins=2, tokens=2), 3), (Linear(vit, "abc", tokens=2), 1)):
            method.cache = tmp_path
            method.fit(TRAIN, VAL, CONFIG)
            assert seen == {expected}, "heads on vectors cost nothing, adapters on tokens do"
            assert len(ahead) == (CONFIG.epochs if expected > 1 else 0), "tokens lie on the disk, vectors in memory"
            seen.clear(); ahead.clear()
    finally: torch.set_num_threads(threads)


@pytest.mark.parametrize("name, options", [("cufit", dict(begins=3, tokens=3)), ("rein", dict(begins=2, tokens=2)), ("linear", dict(tokens=3))])
def test_a_late_run_goes_on_to_the_same_bits_and_is_loaded(vit, dies, tmp_path, name, options):
    make = lambda: all_methods()[name](vit, "abc", **options)
    whole = make(); whole.fit(TRAIN, VAL, CONFIG)
    with dies(2), pytest.raises(KeyboardInterrupt): make().fit(TRAIN, VAL, CONFIG, tmp_path)
    taken = make(); taken.fit(TRAIN, VAL, CONFIG, tmp_path, resume=True)
    assert all(torch.equal(a, b) for a, b in zip(whole.last.values(), taken.last.values(), strict=True))
    loaded = load_method(tmp_path, vit)
    assert loaded.options == whole.options and (loaded.predict(VAL) == taken.predict(VAL)).all()


def test_a_run_that_was_begun_before_the_options_came_goes_on(vit, dies, tmp_path):
    from cufit.core import load_tensors, save_tensors
    make = lambda: Cufit(vit, "abc")
    with dies(2), pytest.raises(KeyboardInterrupt): make().fit(TRAIN, VAL, CONFIG, tmp_path)
    tensors, head = load_tensors(tmp_path/"resume.safetensors")
    head["of"]["options"] = {k: head["of"]["options"][k] for k in ("adapter", "views")}
    save_tensors(tmp_path/"resume.safetensors", tensors, **head)
    make().fit(TRAIN, VAL, CONFIG, tmp_path, resume=True)
    head["of"]["options"]["adapter"] = "other"
    save_tensors(tmp_path/"resume.safetensors", tensors, **head)
    with pytest.raises(CufitError, match="something else"): make().fit(TRAIN, VAL, CONFIG, tmp_path, resume=True)


@pytest.mark.parametrize("options", [{}, dict(begins=2, tokens=2), dict(views=2)])
def test_images_smaller_than_the_input_are_refused_in_words(vit, options):
    small = exactly(TRAIN, 40)
    with pytest.raises(CufitError, match="Cannot crop 48 pixels from images of 40 x 40"): Cufit(vit, "abc", **options).fit(small, small, CONFIG)


@pytest.mark.parametrize("tokens", [-3, 1.5, "four"])
def test_a_number_of_views_is_a_whole_number(vit, tokens):
    with pytest.raises(CufitError, match=f"{tokens} views are wanted"): Cufit(vit, "abc", begins=2, tokens=tokens).fit(TRAIN, VAL, CONFIG)
