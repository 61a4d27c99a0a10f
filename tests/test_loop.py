"The loop carries what methods bring: each point by a method made for it, against plain PyTorch where there is something to compare."
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from everything import CONFIG, SETS, Everything, state
from torch import nn

from cufit.core import CufitError, generator, load_tensors
from cufit.data.sampling import ClassBalanced
from cufit.frozen.backbone import load_backbone
from cufit.frozen.features import CLASS_TOKEN
from cufit.train.batch import Kept
from cufit.train.contract import Method, load_method
from cufit.methods.probe import Linear
from cufit.train.record import train_config
from cufit.metrics import CHOOSE_BY
from cufit.run.cost import estimate, trial

TRAIN, VAL = SETS


@pytest.fixture(scope="module")
def vit(): return load_backbone()


@pytest.fixture(scope="module")
def whole(vit):
    method = Everything(vit, "abc")
    method.fit(*SETS, CONFIG)
    return method


def same(a, b): return a.keys() == b.keys() and all(torch.equal(a[n], b[n]) for n in a)


class Heads(Method):
    "One linear head on kept class tokens."
    def build(self): return dict(head=nn.Linear(self.vit.dim, self.n_outputs))
    def reads(self, training): return dict(f=Kept(CLASS_TOKEN))
    def outputs(self, batch, names=None): return {n: self.modules[n](batch["f"]) for n in names or self.modules}
    def step(self, batch):
        z = self.modules["head"](batch["f"])
        yield "head", F.cross_entropy(z, batch.labels), torch.ones_like(batch.labels, dtype=torch.bool)


@pytest.mark.parametrize("epoch", [1, 2, 3, 4])
def test_a_run_stopped_in_any_epoch_goes_on_to_the_same_bits(vit, whole, dies, tmp_path, epoch):
    "Row states, queue, partners, dropout, a cosine by step: with the weights, all is what it would have been."
    with dies(epoch), pytest.raises(KeyboardInterrupt): Everything(vit, "abc").fit(*SETS, CONFIG, tmp_path)
    again = Everything(vit, "abc", seed=7)   # other weights at the start
    again.modules.load_state_dict(Everything(vit, "abc").modules.state_dict())
    again.fit(*SETS, CONFIG, tmp_path, resume=epoch > 1)
    assert same(state(again), state(whole)) and again.memory.filled == whole.memory.filled
    assert (again.history.selection == whole.history.selection).all()
    assert not any("row" in n or "queue" in n for n in load_tensors(tmp_path/"model.safetensors")[0])
    assert {"row/target", "row/seen", "queue/keys"} <= load_tensors(tmp_path/"resume.safetensors")[0].keys()


def test_two_processes_are_one(vit, whole, tmp_path):
    program = [str(Path(__file__).with_name("everything.py")), str(tmp_path)]
    done = subprocess.run([sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", *program], capture_output=True, text=True, timeout=300,
                          env=os.environ | {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1", "ACCELERATE_USE_CPU": "true"})
    assert done.returncode == 0, done.stderr[:3000]+done.stderr[-3000:]
    two, head = load_tensors(tmp_path/"state.safetensors")
    assert head["filled"] == whole.memory.filled == dict(keys=20)
    assert (np.array(head["selection"]) == whole.history.selection).mean() > 0.99
    for n, t in state(whole).items(): torch.testing.assert_close(two[n], t.cpu(), atol=2e-3, rtol=1e-3, msg=lambda m, n=n: f"{n}: {m}")


def test_row_states_belong_to_their_rows(vit, whole):
    assert (whole.memory.rows["seen"] == CONFIG.epochs).all()   # every row once an epoch, whatever the order
    target = whole.memory.rows["target"]
    torch.testing.assert_close(target.sum(1), torch.ones(len(TRAIN)))
    class Marks(Heads):
        def row_state(self, train): return dict(mark=torch.zeros(len(train), vit.dim))
        def step(self, batch):
            batch.remember("mark", batch["f"])
            yield from super().step(batch)
    m = Marks(vit, "abc"); m.fit(*SETS, train_config(epochs=1, batch_size=5))
    assert torch.equal(m.memory.rows["mark"], m.keep(TRAIN, m.reads(True), training=True)["f"])


def test_epochs_are_announced(vit, dies, tmp_path):
    told = []
    class Told(Heads):
        name = "told"
        def begin_epoch(self, epoch, epochs): told.append((epoch, epochs, self.modules.training))
    config = train_config(epochs=3, checkpoint_seconds=0)
    with dies(3), pytest.raises(KeyboardInterrupt): Told(vit, "abc").fit(*SETS, config, tmp_path)
    Told(vit, "abc").fit(*SETS, config, tmp_path, resume=True)
    assert [t[:2] for t in told] == [(0, 3), (1, 3), (2, 3)]
    with pytest.raises(CufitError, match="told is told the number of epochs"): Told(vit, "abc").fit(*SETS, _longer(config, tmp_path), tmp_path, resume=True)


def _longer(config, folder):
    "The same settings for more epochs, where the learning rate alone would allow it."
    import json

    from cufit.core import save_tensors
    tensors, head = load_tensors(folder/"resume.safetensors")
    head["config"]["milestones"] = []
    save_tensors(folder/"resume.safetensors", tensors, **json.loads(json.dumps(head)))
    return replace(config, epochs=5, milestones=())


def test_coupled_losses_go_back_once_and_together(vit):
    "The gradients of a sum; both losses are recorded; what is kept for the way back is that of both graphs."
    class Coupled(Heads):
        together = True
        def build(self): return {n: nn.Sequential(nn.Linear(vit.dim, 512), nn.Tanh(), nn.Linear(512, 3)) for n in "ab"}
        def step(self, batch):
            za, zb = (m(batch["f"]) for m in self.modules.values())
            every = torch.ones_like(batch.labels, dtype=torch.bool)
            la, lb = F.cross_entropy(za, batch.labels) + F.mse_loss(za, zb), F.cross_entropy(zb, batch.labels)
            if self.together: yield ("a", "b"), (la, lb), (every, ~every)
            else: yield ("a", "b"), la+lb, every
    one, other = Coupled(vit, "abc"), Coupled(vit, "abc")
    other.together = False
    config = train_config(epochs=1, batch_size=64)   # one step
    h, g = one.fit(*SETS, config), other.fit(*SETS, config)
    assert same(one.last, other.last)
    assert h.rows[0]["loss_a"] != h.rows[0]["loss_b"] and g.rows[0]["loss_a"] == pytest.approx(h.rows[0]["loss_a"]+h.rows[0]["loss_b"], rel=1e-5)
    assert h.selection[0].all(1).tolist() == [True, False] and not h.selection[0, 1].any()
    class Apart(Coupled):
        def step(self, batch):
            for n, m in self.modules.items(): yield n, F.cross_entropy(m(batch["f"]), batch.labels), torch.ones_like(batch.labels, dtype=torch.bool)
    kept = {kind: trial(kind(vit, "abc"), TRAIN, 32, config)[2] for kind in (Coupled, Apart)}
    assert kept[Coupled] > 1.5*kept[Apart]


def test_selected_is_at_least_once_in_the_epoch(vit):
    "A sampler that shows rows again and again: chosen the first time and not the second is chosen."
    class Once(Heads):
        name, sampler = "once", ClassBalanced(300)
        def begin_epoch(self, epoch, epochs): self.shown = set()
        def step(self, batch):
            rows = torch.tensor([i not in self.shown for i in batch.index.tolist()])
            self.shown |= set(batch.index.tolist())
            z = self.modules["head"](batch["f"])
            yield "head", F.cross_entropy(z, batch.labels), rows
    h = Once(vit, "abc").fit(*SETS, train_config(epochs=2, batch_size=7))
    assert h.selection.mean() > 0.95   # 300 draws of 37 rows
    assert estimate(Once(vit, "abc"), TRAIN, VAL, train_config(epochs=1, batch_size=7)).minutes > 0


@pytest.mark.parametrize("settings", [dict(optimizer="adamw", weight_decay=0.1), dict(optimizer="sgd", momentum=0.8, lr=1e-2), dict(schedule="cosine", warmup=4), dict(clip=0.05), dict(sampler="balanced")])
def test_training_is_what_pytorch_does(vit, settings):
    config = train_config(**dict(epochs=3, batch_size=10, lr=1e-2, milestones=()) | settings)
    method = Heads(vit, "abc"); plain = Heads(vit, "abc").modules["head"]
    method.fit(*SETS, config)
    kinds = dict(adam=torch.optim.Adam, adamw=torch.optim.AdamW, sgd=torch.optim.SGD)
    opt = kinds[config.optimizer](plain.parameters(), lr=config.lr, weight_decay=config.weight_decay, **(dict(momentum=0.8, nesterov=True) if config.optimizer == "sgd" else {}))
    steps = 3*4
    if config.schedule == "cosine":
        schedule = torch.optim.lr_scheduler.SequentialLR(opt, [torch.optim.lr_scheduler.LinearLR(opt, 1/4, 1, 3), torch.optim.lr_scheduler.CosineAnnealingLR(opt, steps-4)], [4])
    f, y = method.keep(TRAIN, method.reads(True), training=True)["f"], torch.from_numpy(TRAIN.labels.copy())
    for epoch in range(3):
        gen = generator(config.seed, "shuffle", epoch)
        order = ClassBalanced().draw(TRAIN.labels, gen) if config.sampler == "balanced" else torch.randperm(len(f), generator=gen)
        for rows in order.split(10):
            opt.zero_grad(); F.cross_entropy(plain(f[rows]), y[rows]).backward()
            if config.clip: torch.nn.utils.clip_grad_norm_(plain.parameters(), config.clip)
            opt.step()
            if config.schedule == "cosine": schedule.step()
    for n, p in plain.state_dict().items(): torch.testing.assert_close(method.last[f"head.{n}"], p, atol=1e-5, rtol=1e-4)


def test_parts_have_rates_of_their_own(vit):
    method, config = Heads(vit, "abc"), train_config(epochs=1, batch_size=64, rates=("head=0", "head.bias=3"), optimizer="sgd", weight_decay=0.)
    start = {n: p.clone() for n, p in method.modules.state_dict().items()}
    method.fit(*SETS, config)
    plain = Heads(vit, "abc"); plain.fit(*SETS, replace(config, rates=()))
    moved = lambda m: {n: p-start[n] for n, p in m.last.items()}
    assert not moved(method)["head.weight"].any()
    torch.testing.assert_close(moved(method)["head.bias"], 3*moved(plain)["head.bias"])
    with pytest.raises(CufitError, match="'lam'"): method.fit(*SETS, replace(config, rates=("lam=2",)))


def test_modes_and_dropout(vit):
    modes = []
    class Modes(Heads):
        def build(self): return dict(head=nn.Sequential(nn.Dropout(0.5), nn.Linear(vit.dim, 3)))
        def step(self, batch): modes.append(self.modules.training); yield from super().step(batch)
        def outputs(self, batch, names=None): modes.append(self.modules.training); return super().outputs(batch, names)
    config = train_config(epochs=2, batch_size=64)
    before = torch.get_rng_state()
    a, b = Modes(vit, "abc"), Modes(vit, "abc")
    a.fit(*SETS, config); torch.rand(5); b.fit(*SETS, config)
    assert modes == [True, False]*4 and same(a.last, b.last), "dropout is the run's, not that of the world around it"
    a.fit(*SETS, config)
    torch.set_rng_state(before); first = torch.rand(1); torch.set_rng_state(before); a.fit(*SETS, config)
    assert torch.equal(torch.rand(1), first), "and the world's is left as it was"
    plain = Heads(vit, "abc"); plain.fit(*SETS, config)
    assert (a.last["head.1.weight"]-plain.last["head.weight"]).abs().max() > 1e-4


class Grade(Heads):
    "Regression of a grade: one output, thresholds half way between."
    name = "grade"
    @property
    def n_outputs(self): return 1
    def step(self, batch):
        z = self.modules["head"](batch["f"])[:, 0]
        yield "head", F.mse_loss(z, batch.labels.float()), torch.ones_like(batch.labels, dtype=torch.bool)
    def decode(self, outputs): return outputs[:, 0].round().long().clamp(0, self.n_classes-1)


def test_heads_may_have_other_outputs(vit, tmp_path):
    m = Grade(vit, "abc"); h = m.fit(*SETS, train_config(epochs=30, lr=1e-2, choose_by="kappa"), tmp_path)
    out = m.evaluate(TRAIN)["head"]
    said = m.predict(TRAIN)
    assert out.shape == (len(TRAIN), 1) and (said == out[:, 0].round().clamp(0, 2).numpy()).all() and len(set(said)) > 1
    assert (m.predict_proba(TRAIN).argmax(1) == said).all()
    assert h.best == max(r["val_kappa"] for r in h.rows) == h.rows[h.best_epoch]["val_kappa"]
    assert (load_method(tmp_path, vit).predict(TRAIN) == said).all()


@pytest.mark.parametrize("by", CHOOSE_BY)
def test_the_epoch_is_the_best_by_what_was_asked(vit, by):
    h = Linear(vit, "abc", views=1).fit(*SETS, train_config(epochs=25, lr=3e-2, choose_by=by))
    column = "val_accuracy" if by == "accuracy" else f"val_{by}"
    assert h.best_epoch == int(np.argmax([r[column] for r in h.rows]))


def test_an_auc_of_one_class_is_refused_before_training(vit):
    only = VAL.subset(np.flatnonzero(VAL.labels == 1))
    with pytest.raises(CufitError, match="one class"): Heads(vit, "abc").fit(TRAIN, only, train_config(epochs=1, choose_by="auc"))


def test_nothing_moves_what_asks_for_no_gradient(vit):
    class Teacher(Heads):
        def build(self): return dict(teacher=nn.Linear(vit.dim, 3).requires_grad_(False), head=nn.Linear(vit.dim, 3))
    m = Teacher(vit, "abc"); before = m.modules["teacher"].weight.clone()
    m.fit(*SETS, train_config(epochs=2))
    assert torch.equal(m.last["teacher.weight"], before)


def test_the_fellow_is_read_ahead_as_it_is_read(vit, tmp_path):
    from cufit.train.batch import Fellow, View
    class Eyes(Heads):
        def reads(self, training): return dict(x=View(), other=Fellow(View()))
        def outputs(self, batch, names=None): return dict(head=self.modules["head"](vit.features(batch["x"])+vit.features(batch["other"])))
        def step(self, batch): yield "head", F.cross_entropy(self.outputs(batch)["head"], batch.labels), torch.ones_like(batch.labels, dtype=torch.bool)
    pairs = [replace(s, groups=np.array([f"p{i//2}" for i in range(len(s))])) for s in SETS]
    np.save(tmp_path/"i.npy", TRAIN.images)
    mapped = replace(pairs[0], images=np.load(tmp_path/"i.npy", mmap_mode="r"))
    found = []
    for train in (pairs[0], mapped, mapped):
        m = Eyes(vit, "abc"); m.fit(train, pairs[1], train_config(epochs=2, batch_size=8)); found.append(m.last)
    assert same(found[0], found[1]) and same(found[1], found[2])


def test_a_map_and_a_finer_view_show_what_the_view_shows(vit):
    from cufit.frozen.features import Pass
    from cufit.train.batch import Batch, View
    whole = Pass("pixels", lambda vit, x: x.float(), lambda vit: (3, 56, 56), whole=True)
    for crop in (40, 48, 56):
        inputs = dict(x=View(crop=crop, side=48), fine=View(along="x"), map=Kept(whole, along="x"))
        for gen in (generator(0, "x"), None):
            kept = {n: i.prepare(vit, TRAIN, None, gen is not None) for n, i in inputs.items()}
            b = Batch(TRAIN, torch.arange(6), vit, gen, inputs=inputs, kept=kept)
            assert b["map"].shape == b["fine"].shape == (6, 3, crop, crop)
            torch.testing.assert_close(vit.normalise(b["map"].to(torch.uint8)), b["fine"])
    with pytest.raises(CufitError, match="same 40 pixels"): Batch(TRAIN, torch.arange(6), vit, generator(0, "x"), inputs=dict(x=View(crop=40), y=View(crop=56, along="x")))["y"]
    with pytest.raises(CufitError, match="views of its own"): Kept(whole, 2, along="x")


def test_what_is_drawn_beside_a_step_is_the_run_s(vit):
    class Draws(Heads):
        name = "draws"
        def row_state(self, train): return dict(s=torch.rand(len(train)))
        def begin_epoch(self, epoch, epochs): self.drawn = torch.rand(3)
    class Inherits(Draws): name = "inherits"
    a, b = Draws(vit, "abc"), Inherits(vit, "abc")
    for m in (a, b): torch.rand(7); m.fit(*SETS, train_config(epochs=2))
    assert torch.equal(a.drawn, b.drawn) and torch.equal(a.memory.rows["s"], b.memory.rows["s"])


def test_grades_keep_their_distance_and_a_state_is_told_once(vit):
    from cufit.metrics import quadratic_kappa
    y = np.array([0, 0, 1, 1, 4, 4])
    assert quadratic_kappa(np.array([0, 0, 1, 1, 1, 4]), y) == pytest.approx(0.697, abs=1e-3) and quadratic_kappa(np.array([1, 0, 0, 1, 4, 4]), y) == pytest.approx(0.942, abs=1e-3)
    class Twice(Heads):
        def queues(self): return dict(q=torch.empty(9, 1))
        def step(self, batch):
            for _ in range(2): batch.remember("q", torch.ones(len(batch), 1))
            yield from super().step(batch)
    with pytest.raises(CufitError, match="told twice"): Twice(vit, "abc").fit(*SETS, train_config(epochs=1))


@pytest.mark.parametrize("name, width", [("mobilenetv3_small_050", 1024), ("resnet10t", 512)])
def test_cnns_have_the_width_that_they_put_out(name, width):
    cnn = load_backbone(name, "random", 64)
    assert cnn.dim == width == cnn.features(torch.zeros(1, 3, 64, 64)).shape[1]


def test_kept_passes_are_those_of_the_architecture(vit, tmp_path):
    from cufit.frozen.features import feature_key
    other = load_backbone(); other.mean = other.mean+0.3
    assert feature_key(vit, TRAIN) == feature_key(load_backbone(), TRAIN) != feature_key(other, TRAIN)


def test_the_estimate_asks_the_memory_of_the_trial_and_stale_parts_go(vit, tmp_path):
    import os

    from cufit.frozen.cache import Cache
    class FromKept(Heads):
        def row_state(self, train): return dict(mark=self.kept["f"].clone())
    assert estimate(FromKept(vit, "abc"), TRAIN, VAL, train_config(epochs=1)).parameters > 0
    for name, age in (("old.1.part", 2*86400), ("new.1.part", 0)):
        (tmp_path/name).write_bytes(b"x"); then = (tmp_path/name).stat().st_mtime-age; os.utime(tmp_path/name, (then, then))
    assert Cache(tmp_path).make_room() == ["old.1.part"] and (tmp_path/"new.1.part").is_file()


@pytest.mark.parametrize("layer", [nn.Dropout(0.5), nn.BatchNorm1d(192), nn.Dropout(0.), nn.LayerNorm(192)])
def test_layers_that_see_the_rows_of_one_process_are_refused_where_there_are_two(vit, monkeypatch, layer):
    import cufit.train.loop as loop
    method = Heads(vit, "abc")
    method.modules["head"] = nn.Sequential(layer, nn.Linear(192, 3))
    loop._refuse_apart(method)
    monkeypatch.setattr(loop, "team", lambda: type("Two", (), dict(size=2)))
    if getattr(layer, "p", None) == 0 or isinstance(layer, nn.LayerNorm): return loop._refuse_apart(method)
    with pytest.raises(CufitError, match=f"{type(layer).__name__}, which sees the rows of one"): loop._refuse_apart(method)
    loop._refuse_apart(method.modules.eval() and method)   # where it does nothing, such as in a copy that keeps its statistics


def test_the_estimate_counts_the_rows_of_the_sampler(vit):
    class Longer(Heads): sampler = ClassBalanced(10*len(TRAIN))
    config = train_config(epochs=3)
    plain, longer = (estimate(m(vit, "abc"), TRAIN, VAL, config) for m in (Heads, Longer))
    assert longer.tflop-plain.tflop == pytest.approx(3*9*len(TRAIN)*plain.gflop/1e3)


def test_every_module_is_heard_on_validation_and_any_chooser_may_use_it(vit, dies, tmp_path):
    from cufit.metrics import CHOOSERS, Seen, chosen_epochs, load_seen
    from cufit.methods.curriculum import Cufit
    base = train_config(epochs=7, batch_size=8, lr=1e-2, checkpoint_seconds=0)
    runs = {}
    for choose in CHOOSERS:
        m = Cufit(vit, "abc"); h = m.fit(TRAIN, VAL, replace(base, choose=choose), tmp_path/choose)
        assert [len(h.seen.said), h.seen.said[0].shape, h.seen.scores] == [7, (3, len(VAL)), h.frame.val_accuracy.tolist()]
        kept = [CHOOSERS[choose](Seen(h.seen.labels, h.seen.scores[:t], h.seen.said[:t], h.seen.sure[:t])) for t in range(1, 8)]
        assert h.best_epoch == int(np.argmax(kept)) and h.best == max(kept), "the first of the best, by what was there then"
        assert (m.predict(VAL, again=True) == h.seen.said[h.best_epoch][-1]).all()
        assert (m.evaluate(VAL)["lpm"].argmax(1).numpy() == h.seen.said[h.best_epoch][0]).all()
        written = np.load(tmp_path/choose/"validation.npz")
        assert written["said"].shape == (7, 3, len(VAL)) and written["sure"].dtype == np.float16
        assert chosen_epochs(load_seen(tmp_path/choose/"validation.npz"))[choose] == chosen_epochs(h.seen)[choose] == h.best_epoch
        runs[choose] = h
    assert {tuple(h.frame.val_accuracy) for h in runs.values()} == {tuple(runs["last"].frame.val_accuracy)}, "training is the same"
    assert runs["last"].best_epoch == runs["last10"].best_epoch == 6 and len({h.best_epoch for h in runs.values()}) > 1
    smoothed = replace(base, choose="smoothed")
    with dies(4), pytest.raises(KeyboardInterrupt): Cufit(vit, "abc").fit(TRAIN, VAL, smoothed, tmp_path/"cut")
    again = Cufit(vit, "abc"); h = again.fit(TRAIN, VAL, smoothed, tmp_path/"cut", resume=True)
    assert h.best_epoch == runs["smoothed"].best_epoch and h.best == runs["smoothed"].best and (np.stack(h.seen.said) == np.stack(runs["smoothed"].seen.said)).all()


def test_an_old_run_chose_by_validation_and_ten_last_epochs_are_kept():
    from cufit.train.record import TrainConfig, filled
    assert filled(dict(epochs=3), TrainConfig)["choose"] == "validation"
    assert train_config(choose="last10").keep_last == 10 and train_config(choose="last10", keep_last=12).keep_last == 12
    with pytest.raises(CufitError, match="smoothed"): train_config(choose="smooth")


def test_the_mean_of_the_last_epochs_is_that_of_each_scored_by_itself(vit):
    m = Heads(vit, "abc")
    h = m.fit(TRAIN, VAL, train_config(epochs=5, batch_size=8, lr=1e-1, keep_last=3))
    now = m.predict(VAL)
    assert m.last_epochs_accuracy(VAL) == h.frame.val_accuracy.tolist()[-3:] and len(set(h.frame.val_accuracy)) > 1
    assert (m.predict(VAL) == now).all(), "the model is what it was"
