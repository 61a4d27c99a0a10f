"What CUFIT, the linear probe and one adapter can do for rare classes; with everything off, the golden tests say that nothing has changed."
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from cufit.core import CufitError, generator
from cufit.data.prior import confident_counts, log_prior
from cufit.drawn.cells import cells
from cufit.frozen.backbone import load_backbone
from cufit.frozen.solved import out_of_fold, solve_head
from cufit.methods.adapters import AdapterTuning
from cufit.train.batch import Batch
from cufit.train.contract import Method, all_methods
from cufit.methods.curriculum import BALANCED, Cufit, forward_rows, masked_loss, split_forward
from cufit.methods.probe import Linear
from cufit.train.record import train_config
from cufit.run.settings import RunConfig, method_options

CONFIG = train_config(epochs=2, batch_size=8, lr=1e-2, checkpoint_seconds=0)


@pytest.fixture(scope="module")
def vit(): return load_backbone()


@pytest.fixture(scope="module")
def sets():
    "Three kinds of cells, of which the last is rare, with some wrong labels."
    train, val = (getattr(cells(n_train=120, n_val=40, n_test=16, size=48, classes=("basophil", "lymphocyte", "platelet")), s) for s in ("train", "val"))
    rows = np.r_[np.flatnonzero(train.labels < 2)[:54], np.flatnonzero(train.labels == 2)[:6]]
    train = train.subset(rows); y = train.labels.copy(); y[::7] = (y[::7]+1) % 3
    return train.with_labels(y), val


def drawn(method, data, n=20):
    return Batch(data, torch.arange(n), method.vit, generator(0, "draw"), True, method.reads(True), method.kept, method.memory)


@pytest.mark.parametrize("which", ["given", "clean"])
@pytest.mark.parametrize("kind", [Linear, AdapterTuning, Cufit])
def test_the_prior_is_in_the_loss_and_not_in_the_prediction(vit, sets, kind, which):
    train, _ = sets
    method, plain = kind(vit, train.classes, prior=which), kind(vit, train.classes)
    for m in (method, plain): m.prepare(train, CONFIG)
    counts = np.bincount(train.labels)
    if which == "clean": counts = confident_counts(out_of_fold(method.first_look(train), train.labels, 3), train.labels)
    assert torch.equal(method.shift, log_prior(counts)) and plain.shift is None and len(set(method.shift.tolist())) == 3
    (name, loss, rows), *_ = method.step(drawn(method, train))
    z = method.evaluate(train.subset(np.arange(20)), [name])[name]   # 48 px: but for flips these are the images of the step
    first = Batch(train, torch.arange(20), vit, generator(0, "draw"), False, method.reads(True), method.kept)
    (_, loss, _), *_ = method.step(first)
    torch.testing.assert_close(loss, F.cross_entropy(z+method.shift, first.labels), atol=1e-4, rtol=1e-4)
    assert method.looks_first == (which == "clean") and method.run_gflop(60, 10, 2)-plain.run_gflop(60, 10, 2) == pytest.approx(60*vit.gflop() if which == "clean" else 0)


def test_the_prior_of_all_three(vit, sets):
    train, _ = sets
    lpm, every = (Cufit(vit, train.classes, prior="given", prior_for=w) for w in ("lpm", "all"))
    for m in (lpm, every): m.prepare(train, CONFIG)
    a, b = (list(m.step(Batch(train, torch.arange(60), vit, generator(0, "draw"), False, m.reads(True), m.kept))) for m in (lpm, every))
    assert torch.equal(a[0][1], b[0][1]) and all(torch.equal(p[2], q[2]) for p, q in zip(a, b)) and not torch.equal(a[1][1], b[1][1])


@pytest.mark.parametrize("prior", ["none", "given"])
def test_a_solved_head_stays_and_a_warm_one_is_trained_on(vit, sets, prior):
    train, val = sets
    wanted = None
    for how in ("solved", "warm"):
        m = Cufit(vit, train.classes, lpm=how, prior=prior); m.fit(train, val, CONFIG)
        if wanted is None:
            wanted = solve_head(m.first_look(train), train.labels, 3)
            if prior == "given": wanted.bias.data -= log_prior(np.bincount(train.labels))
        same = [torch.equal(p, q) for p, q in zip(wanted.parameters(), m.modules["lpm"].parameters(), strict=True)]
        assert same == [how == "solved"]*2
        assert m.history.trained[0][1].mean() > 0.5, "it agrees with many from the first step on"


def test_a_class_that_nobody_agrees_with_is_rescued(vit, sets):
    "The LPM is bent so that it never says class 2; of its rows the two likeliest are handed on in the next epoch, to both adapters."
    train, val = sets
    class Bent(Cufit):
        name = ""
        def lpm_features(self, batch, tokens): return super().lpm_features(batch, tokens).detach()
        def begin_epoch(self, epoch, epochs):
            super().begin_epoch(epoch, epochs)
            with torch.no_grad(): self.modules["lpm"].bias[2] = -100
            self.noted = [*getattr(self, "noted", []), {k: v.clone() for k, v in self.memory.rows.items()}]
    m = Bent(vit, train.classes, rescue=2)
    h = m.fit(train, val, replace(CONFIG, epochs=3, lr=1e-4))
    rare, (_, before, again) = np.flatnonzero(train.labels == 2), m.noted
    assert not h.trained[0][1][rare].any() and not before["iam"][rare].any()
    best = rare[before["likely"][rare].topk(2).indices.numpy()]
    assert sorted(np.flatnonzero(h.trained[1][1] & (train.labels == 2))) == sorted(best) and h.trained[1][2][best].all()
    assert before["iam"][train.labels == 0].any() and not (h.trained[1][1] & (train.labels == 0) & ~again["iam"].numpy()).any(), "other classes go by agreement"
    assert set(Cufit(vit, "abc").row_state(train)) == set()


class PlainLinear(Linear):
    "The step as it was before there were options; so the two below."
    def step(self, batch):
        z = self.modules["linear"](self.vit.norm(self.vit.features(batch.x))).float()
        yield "linear", F.cross_entropy(z, batch.labels), torch.ones_like(batch.labels, dtype=torch.bool)


class PlainAdapter(AdapterTuning):
    def step(self, batch):
        z = self.modules["rein"](self.vit, self.vit.start(batch.x, 1)).float()
        yield "rein", F.cross_entropy(z, batch.labels), torch.ones_like(batch.labels, dtype=torch.bool)


class PlainCufit(Cufit):
    def prepare(self, train, config): Method.prepare(self, train, config)
    def begin_epoch(self, epoch, epochs): pass
    def row_state(self, train): return {}
    def step(self, batch):
        (lpm, iam, lam), vit, y, n = self.modules.values(), self.vit, batch.labels, len(batch.labels)
        tokens = vit.start(batch.x, 1)
        with torch.no_grad(): features = vit.finish(tokens, 1)
        z = lpm(features)
        yield "lpm", masked_loss(z, y, n), torch.ones_like(y, dtype=torch.bool)
        by_lpm = z.detach().argmax(1) == y
        z, says = split_forward(iam, vit, tokens, by_lpm)
        yield "iam", masked_loss(z, y[by_lpm], n), by_lpm
        by_iam = says == y
        yield "lam", masked_loss(forward_rows(lam, vit, tokens, by_iam), y[by_iam], n), by_iam


OFF = dict(begins=1, tokens=0, views=0, prior="none", tau=1.)


@pytest.mark.parametrize("kind, plain, off", [(Linear, PlainLinear, dict(OFF)), (AdapterTuning, PlainAdapter, OFF),
    (Cufit, PlainCufit, OFF | dict(prior_for="lpm", tau_adapters=None, lpm="trained", rescue=0, loss="batch", balanced=False))])
def test_an_option_that_is_off_changes_no_bit(vit, sets, kind, plain, off):
    off = {k: v for k, v in off.items() if k in kind.options}
    assert set(off) >= {*kind.options}-{"adapter"}, "a new option belongs here"
    runs = [k(vit, sets[0].classes, **o) for k, o in ((plain, {}), (kind, {}), (kind, off))]
    old, *new = ((m.fit(*sets, CONFIG), m.last) for m in runs)
    for history, last in new:
        assert all(torch.equal(a, b) for a, b in zip(old[1].values(), last.values(), strict=True))
        assert (np.stack(history.trained) == np.stack(old[0].trained)).all()


def test_losses_by_what_was_selected(vit, sets):
    train, _ = sets
    by_batch, selected = (Cufit(vit, train.classes, lpm="solved", loss=k) for k in ("batch", "selected"))
    for m in (by_batch, selected): m.prepare(train, CONFIG)
    a, b = (list(m.step(Batch(train, torch.arange(40), vit, generator(0, "draw"), False, m.reads(True), m.kept))) for m in (by_batch, selected))
    for (name, p, rows), (_, q, _) in zip(a, b):
        n = int(rows.sum())
        assert 0 < n and torch.allclose(q, p*40/n if name != "lpm" else p)


@pytest.mark.parametrize("option, words", [(dict(prior="true"), "given"), (dict(lpm="solve"), "solved"), (dict(loss="mean"), "selected"), (dict(prior_for="iam"), "all")])
def test_what_does_not_exist_is_refused(vit, sets, option, words):
    with pytest.raises(CufitError, match=words): Cufit(vit, sets[0].classes, **option)


def test_a_run_with_all_of_it_goes_on_to_the_same_bits_and_further(vit, sets, dies, tmp_path):
    make = lambda: all_methods()["cufit"](vit, sets[0].classes, lpm="warm", prior="clean", prior_for="each", rescue=1, loss="selected", begins=2, tokens=2)
    whole = make(); whole.fit(*sets, CONFIG)
    with dies(2), pytest.raises(KeyboardInterrupt): make().fit(*sets, CONFIG, tmp_path)
    taken = make(); taken.fit(*sets, CONFIG, tmp_path, resume=True)
    assert all(torch.equal(a, b) for a, b in zip(whole.last.values(), taken.last.values(), strict=True))
    short = replace(CONFIG, epochs=8)
    with dies(2), pytest.raises(KeyboardInterrupt): make().fit(*sets, short, tmp_path/"more")
    assert len(make().fit(*sets, replace(short, epochs=9), tmp_path/"more", resume=True).rows) == 9, "more epochs change nothing behind it"


def test_tau_is_the_share_of_the_prior_that_is_taken_out(vit, sets):
    train, _ = sets
    half = Linear(vit, train.classes, prior="given", tau=.5); half.prepare(train, CONFIG)
    assert torch.equal(half.shift, .5*log_prior(np.bincount(train.labels)))
    for tau in (-1, "half"):
        with pytest.raises(CufitError, match="tau is"): Linear(vit, train.classes, tau=tau)


def test_each_adapter_by_the_labels_that_it_was_handed(vit, sets):
    "In the first epoch by those given; then by those that the judge before it agreed with in the epoch before."
    train, val = sets
    class Noting(Cufit):
        name = ""
        def begin_epoch(self, epoch, epochs):
            super().begin_epoch(epoch, epochs)
            self.noted = [*getattr(self, "noted", []), dict(self.shifts)]
    m = Noting(vit, train.classes, prior="given", prior_for="each", tau=1., tau_adapters=.5); h = m.fit(train, val, CONFIG)
    assert all(torch.equal(s, m.shift/2) for s in m.noted[0].values())
    for i, name in ((1, "iam"), (2, "lam")):
        chosen = np.bincount(train.labels[h.trained[0][i]], minlength=3)
        assert torch.equal(m.noted[1][name], .5*log_prior(chosen)) and not torch.equal(m.noted[1][name], m.shift/2)
    z = torch.randn(4, 3); y = torch.tensor([0, 1, 2, 2])
    assert torch.allclose(m.branch_loss("lam", z, y, 4), F.cross_entropy(z+m.shifts["lam"], y))


def test_balanced_is_a_name_for_a_combination_and_gives_way_to_what_is_asked_for(vit, sets):
    train, val = sets
    short, long = Cufit(vit, train.classes, balanced=True), Cufit(vit, train.classes, **BALANCED)
    for m in (short, long): m.fit(train, val, CONFIG)
    assert all(torch.equal(a, b) for a, b in zip(short.last.values(), long.last.values(), strict=True))
    assert Cufit(vit, train.classes, balanced=True, tau=1., rescue=2).options.items() >= {**BALANCED, "tau": 1., "rescue": 2}.items()
    assert not any(Cufit.options[k] == v for k, v in BALANCED.items()), "off unless asked for"
    for text, value in (("True", True), ("false", False), ("False", False), ("0.5", .5), (".5", .5), ("solved", "solved")): assert method_options(RunConfig(options=(f"balanced={text}",))) == {"balanced": value}
    with pytest.raises(CufitError, match="value of balanced"): Cufit(vit, train.classes, balanced="yes")
