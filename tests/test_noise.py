"Properties of label noise that hold for every rate, number of classes and class frequency."
import random
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cufit.core import CufitError
from cufit.drawn.cells import cells
from cufit.data.noise import KINDS, NOISES, NoiseRecord, check_matrix, corrupt, draw_labels, highest_rate, noise_record, symmetric_labels, transition_matrix

torch.set_num_threads(1)
rates = st.floats(0, 1)
seeds = st.integers(0, 2**32-1)
counts = st.integers(2, 9).flatmap(lambda k: st.lists(st.integers(1, 500), min_size=k, max_size=k))
kinds = st.sampled_from(KINDS)


@dataclass(frozen=True)
class Labelled:
    "The part of an image set that noise reads."
    labels: np.ndarray
    classes: tuple
    def with_labels(self, labels): return replace(self, labels=labels)


def labelled(counts): return Labelled(np.repeat(np.arange(len(counts)), counts), tuple(f'class {i}' for i in range(len(counts))))
def reachable(kind, rate, counts): return rate*highest_rate(counts) if kind == 'preserving' else rate


@given(kinds, rates, counts)
def test_rows_sum_to_one_and_the_expected_rate_is_the_rate(kind, rate, counts):
    rate = reachable(kind, rate, counts)
    T, prior = transition_matrix(kind, rate, len(counts), counts), np.array(counts)/sum(counts)
    assert T.dtype == np.float64 and (T >= 0).all()
    assert np.allclose(T.sum(1), 1)
    assert np.isclose(prior @ (1-T.diagonal()), rate)


@given(st.sampled_from(['symmetric', 'pair', 'ordinal']), rates, st.integers(2, 12))
def test_every_class_flips_at_the_rate_unless_frequencies_are_preserved(kind, rate, k):
    assert np.allclose(1 - transition_matrix(kind, rate, k).diagonal(), rate)


@given(rates, counts)
def test_preserving_noise_keeps_class_frequencies(rate, counts):
    prior = np.array(counts)/sum(counts)
    T = transition_matrix('preserving', rate*highest_rate(counts), len(counts), counts)
    assert np.allclose(prior @ T, prior)


@given(counts, st.floats(1e-3, 1))
def test_a_rate_beyond_the_reach_of_preserving_noise_is_refused(counts, beyond):
    rate = highest_rate(counts) + beyond
    assume(rate <= 1)
    with pytest.raises(CufitError, match='highest rate'): transition_matrix('preserving', rate, len(counts), counts)


def test_other_kinds_do_not_keep_class_frequencies():
    prior = np.array([.7, .2, .1])
    for kind in ('symmetric', 'pair', 'ordinal'): assert not np.allclose(prior @ transition_matrix(kind, .4, 3), prior)


def test_where_errors_go():
    assert np.count_nonzero(transition_matrix('symmetric', .3, 5)) == 25
    assert [row.argmax() for row in transition_matrix('pair', .9, 4)] == [1, 2, 3, 0]
    T = transition_matrix('ordinal', .4, 5)
    assert T[0, 1] == pytest.approx(.4) and T[2, 1] == T[2, 3] == pytest.approx(.2) and T[4, 3] == pytest.approx(.4)
    assert (T[np.abs(np.subtract.outer(np.arange(5), np.arange(5))) > 1] == 0).all()
    balanced = transition_matrix('preserving', .4, 5, [1]*5)
    assert np.allclose(balanced, transition_matrix('symmetric', .4, 5))


@settings(max_examples=40, deadline=None)
@given(kinds, rates, counts, seeds)
def test_labels_differ_exactly_where_flipped_and_the_truth_is_kept(kind, rate, counts, seed):
    clean = labelled(counts)
    noisy, record = corrupt(clean, kind, reachable(kind, rate, counts), seed)
    assert np.array_equal(noisy.labels != clean.labels, record.flipped)
    assert np.array_equal(record.clean, clean.labels) and np.array_equal(record.given, noisy.labels)
    assert record.flipped.sum() == record.counts.sum() - np.trace(record.counts)
    given_right = [(record.clean[record.given == k] == k).mean() if (record.given == k).any() else np.nan for k in range(len(counts))]
    assert np.allclose(record.label_precision(), given_right, equal_nan=True)
    assert (record.counts[record.nominal == 0] == 0).all()
    again, _ = corrupt(clean, kind, reachable(kind, rate, counts), seed)
    assert np.array_equal(again.labels, noisy.labels)


@pytest.mark.parametrize('kind', KINDS)
def test_another_seed_is_another_draw(kind):
    clean = labelled([200, 100, 60])
    assert not np.array_equal(corrupt(clean, kind, .3, 0)[0].labels, corrupt(clean, kind, .3, 1)[0].labels)


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('rate', [.1, .4])
def test_realised_comes_close_to_nominal_where_samples_are_many(kind, rate):
    counts = [12000, 9000, 6000, 3000]
    _, record = corrupt(labelled(counts), kind, rate, 5)
    bound = 5*np.sqrt(.25/np.array(counts))[:, None]                # five standard deviations at most
    assert (np.abs(record.realised - record.nominal) < bound).all()
    assert abs(record.realised_rate - rate) < 5*np.sqrt(rate*(1-rate)/sum(counts))


def test_drawing_from_all_classes_flips_less_than_its_name_says():
    _, record = corrupt(labelled([327, 514, 1099, 115, 1113, 6705, 142]), .6*np.eye(7) + .4/7, seed=0)
    assert record.kind == 'matrix' and record.rate == pytest.approx(.4*6/7) and abs(record.realised_rate - .343) < .02


@settings(max_examples=25, deadline=None)
@given(arrays(np.float64, st.integers(2, 6).map(lambda k: (k, k)), elements=st.floats(.01, 1)), seeds)
def test_any_stochastic_matrix_is_accepted(raw, seed):
    T = raw/raw.sum(1, keepdims=True)
    clean = labelled([50]*len(T))
    _, record = corrupt(clean, T, seed=seed)
    assert np.array_equal(record.nominal, T) and record.rate == pytest.approx(1 - T.diagonal().mean())


def test_a_matrix_of_zeros_and_ones_leaves_nothing_to_chance():
    T = [[0, 1, 0], [0, 0, 1], [1, 0, 0]]
    assert np.array_equal(draw_labels([0, 1, 2, 2], T, np.random.default_rng(0)), [1, 2, 0, 0])


@settings(max_examples=25, deadline=None)
@given(kinds, rates, counts, seeds)
def test_a_saved_record_comes_back_equal(tmp_path_factory, kind, rate, counts, seed):
    path = tmp_path_factory.mktemp('record')/'noise_0.4'
    _, a = corrupt(labelled(counts), kind, reachable(kind, rate, counts), seed)
    a.save(path); b = NoiseRecord.load(path)
    for name in ('clean', 'given', 'nominal', 'flipped', 'realised'): assert np.array_equal(getattr(a, name), getattr(b, name), equal_nan=name == 'realised')
    assert (a.kind, a.rate, a.seed, a.classes) == (b.kind, b.rate, b.seed, b.classes)
    assert sorted(p.name for p in path.parent.iterdir()) == ['noise_0.4.json', 'noise_0.4.npz']
    assert NoiseRecord.load(path.with_name('noise_0.4.npz')).seed == b.seed


def test_a_record_cannot_be_changed():
    _, record = corrupt(labelled([5, 5]), rate=.4)
    with pytest.raises(ValueError): record.clean[0] = 1
    with pytest.raises(AttributeError): record.rate = 0


def test_the_record_does_not_share_memory_with_the_set():
    clean = labelled([5, 5]); _, record = corrupt(clean, rate=.4)
    clean.labels[:] = 0
    assert record.clean.sum() == 5


@pytest.mark.parametrize('kind', [*KINDS, np.array([[.6, .4], [.1, .9]])], ids=str)
def test_global_random_state_is_untouched(kind):
    before = np.random.get_state()[1].copy(), np.random.get_state()[2], random.getstate(), torch.random.get_rng_state()
    corrupt(labelled([30, 30]), kind, .4, 3)
    after = np.random.get_state()
    assert (before[0] == after[1]).all() and before[1] == after[2]
    assert before[2] == random.getstate() and torch.equal(before[3], torch.random.get_rng_state())


def test_the_picture_of_a_record_escapes_names_and_survives_empty_classes():
    page = noise_record([0, 0, 1], ('<b>a', 'b', 'never'), rate=0.)._repr_html_()
    assert '&lt;b&gt;a' in page and '<b>a' not in page and 'nan' not in page and '0.0 % realised' in page


@pytest.mark.parametrize('call, words', [
    (lambda: corrupt(labelled([3, 3]), 'symetric'), ["'symetric'", "'symmetric'"]),
    (lambda: corrupt(labelled([3, 3]), rate=40), ['40', '0 to 1']),
    (lambda: corrupt(labelled([3, 3]), rate=float('nan')), ['nan', '0 to 1']),
    (lambda: corrupt(labelled([3, 3]), rate=None), ['None', '0 to 1']),
    (lambda: corrupt(labelled([3, 3]), seed=-1), ['-1', 'seed']),
    (lambda: corrupt(labelled([3, 3]), 'pair', seed=1.5), ['1.5', 'seed']),
    (lambda: corrupt(labelled([3])), ['two or more']),
    (lambda: corrupt(labelled([0, 0])), ['(0,)']),
    (lambda: corrupt(labelled([3, 3]), np.eye(3)), ['(3, 3)', '2 x 2']),
    (lambda: corrupt(labelled([3, 3]), [[1, 0], [1]]), ['2 rows of 2 numbers', 'symmetric']),
    (lambda: corrupt(labelled([3, 3]), [[1, 0], [.5, .4]]), ['Row 1', '0.9']),
    (lambda: corrupt(labelled([3, 3]), [[1.2, -.2], [0, 1]]), ['Row 0', 'negative']),
    (lambda: symmetric_labels([0, 1, 2, 9], .4, 0, 3), ['Row 3', '9', '0 to 2']),
    (lambda: symmetric_labels([[0, 1]], .4, 0, 3), ['(1, 2)']),
    (lambda: transition_matrix('preserving', .4, 3), ['prior']),
    (lambda: transition_matrix('preserving', .4, 3, [1, 2]), ['(2,)', '3 classes']),
    (lambda: transition_matrix('preserving', .4, 2, [1, -1]), ['negative']),
    (lambda: transition_matrix('preserving', .1, 2, [1, 0]), ['highest rate is 0.000']),
    (lambda: check_matrix(np.full((2, 2), np.nan), 2), ['Row 0', 'missing']),
    (lambda: NoiseRecord.load('/nowhere/noise'), ['noise.npz', 'missing']),
])
def test_what_is_wrong_is_said(call, words):
    with pytest.raises(CufitError) as e: call()
    assert all(w in str(e.value) for w in words), e.value


STRUCTURED = [k for k in NOISES if k not in KINDS]


@pytest.mark.parametrize("kind", STRUCTURED)
def test_noise_that_follows_images_or_readers_is_what_it_says(kind):
    drawn = cells(n_train=600, n_val=200, n_test=16, size=48, seed=0)
    (noisy, record), (_, again), (_, other) = (corrupt(drawn.train, kind, .3, s) for s in (0, 0, 1))
    assert (record.given == again.given).all() and (record.given != other.given).any() and (record.clean == drawn.train.labels).all() and (noisy.labels == record.given).all()
    assert abs(record.realised_rate-.3) < .06 and record.rate == .3 and record.kind == kind and np.allclose(record.nominal.sum(1), 1)
    assert np.abs(record.realised-record.nominal).max() < .2, "what came out is what was asked for, class by class"
    assert corrupt(drawn.train, kind, 0, 0)[1].flipped.sum() == 0
    _, val = corrupt(drawn.val, kind, .3, 1, record)
    if kind == "asymmetric": assert (val.nominal == record.nominal).all() and ((record.nominal > 0).sum(1) == 3).all()
    if kind == "annotators": assert (val.nominal == record.nominal).all() and (record.votes == record.given[:, None]).any(1).all()
    if kind == "instance":   # images that look alike are mislabelled alike: the same projections for both sets
        _, apart = corrupt(drawn.val, kind, .3, 1)
        assert np.abs(val.nominal-record.nominal).max() < np.abs(apart.nominal-record.nominal).max()


def test_a_record_with_votes_is_read_back(tmp_path):
    _, record = corrupt(cells(n_train=64, n_val=16, n_test=16, size=48).train, "annotators", .3, 0)
    assert (NoiseRecord.load(record.save(tmp_path/"noise")).votes == record.votes).all()


def test_the_readers_of_a_set_cannot_be_worse_than_always_wrong():
    with pytest.raises(CufitError, match="0.625"): corrupt(cells(n_train=64, n_val=16, n_test=16, size=48).train, "annotators", .7, 0)
