"""Rankings against SciPy, scikit-learn called directly, and slow paths."""

from itertools import pairwise

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.feature_selection import f_classif, mutual_info_classif

from moprune.data.rows import FileMatrix, StoredFeatures
from moprune.errors import UsageError
from moprune.networks.heads import HeadSpec, HeadWeights, TrainedHead
from moprune.population import Training, TrainingSet
from moprune.seeding import derive
from problems.pruning.encodings import Encoding
from problems.pruning.rankings import (
    RANKINGS,
    anova,
    best,
    comparable,
    fitted,
    magnitudes,
    mutual_information,
    ranking,
    unit_norms,
)

QUICK = Training(epochs=3, batch_size=16, learning_rate=0.05)


def make_data(features=6, n=45, classes=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % classes
    x = torch.randn(n, features, generator=generator)
    x[:, 0] += labels  # the only one that tells anything
    return TrainingSet(x, labels)


def test_anova_is_the_f_statistic_of_scipy():
    data = make_data()
    for column, score in enumerate(anova(data)):
        groups = [data.features[data.labels == c, column].double().numpy() for c in range(3)]
        assert score == pytest.approx(scipy.stats.f_oneway(*groups).statistic, rel=1e-9)


def test_anova_is_bit_for_bit_that_of_scikit_learn(tmp_path):
    """In memory, beyond a block of it, and on disk: sums are taken row after row whatever the blocks."""
    generator = torch.Generator().manual_seed(3)
    labels = torch.randint(4, (9000,), generator=generator) * 2  # classes without an image are none
    data = TrainingSet(torch.randn(9000, 7, generator=generator) + 5 + labels[:, None] / 50, labels)
    scores = anova(data)
    assert (scores == f_classif(data.features.double().numpy(), labels.numpy())[0]).all()
    (tmp_path / "features").write_bytes(data.features.numpy().tobytes())
    stored = StoredFeatures.of(FileMatrix(tmp_path / "features", 0, 9000, 7))
    assert (anova(TrainingSet(stored, labels)) == scores).all()
    with pytest.raises(UsageError, match="needs all features in memory"):
        mutual_information(TrainingSet(stored, labels), 0)


def test_anova_puts_constant_features_last_and_perfect_ones_first():
    data = make_data()
    data.features[:, 2] = 0.1
    data.features[:, 3] = data.labels.float()
    scores = anova(data)
    assert np.isfinite(scores).all()
    assert (scores.argmin(), scores.argmax()) == (2, 3)
    assert scores[2] == -1
    assert (np.delete(scores, 2) >= 0).all()


def test_mutual_information_is_that_of_scikit_learn_in_double_precision():
    data = make_data()
    data.features[:, 4] = 7.0
    varies = [0, 1, 2, 3, 5]
    expected = mutual_info_classif(
        data.features[:, varies].double().numpy(),
        data.labels.numpy(),
        discrete_features=False,
        random_state=derive(5, "mutual information") % 2**32,
    )
    scores = mutual_information(data, seed=5)
    assert (scores[varies] == expected).all()
    assert scores[4] == -1
    assert scores.argmax() == 0
    assert (scores == mutual_information(data, seed=5)).all()


@pytest.mark.parametrize("score", [anova, lambda data: mutual_information(data, 0)])
def test_rankings_of_odd_data(score):
    one = score(make_data(features=1))
    assert one.shape == (1,)
    assert np.isfinite(one).all()
    constant = TrainingSet(torch.ones(6, 3), torch.arange(6) % 2)
    assert score(constant).tolist() == [-1, -1, -1]
    with pytest.raises(UsageError, match="at least two classes"):
        score(TrainingSet(torch.randn(4, 2), torch.zeros(4, dtype=torch.int64)))
    with pytest.raises(UsageError, match="not finite"):
        score(TrainingSet(torch.full((4, 2), torch.nan), torch.arange(4) % 2))


def test_an_image_a_class_has_no_f_statistic_and_no_mutual_information():
    data = TrainingSet(torch.randn(3, 2, generator=torch.Generator().manual_seed(0)), torch.arange(3))
    assert np.isfinite(anova(data)).all()
    assert anova(TrainingSet(torch.tensor([[1.0], [2.0], [4.0]]), torch.arange(3))).tolist() == [-1]  # 0 / 0
    with pytest.raises(UsageError, match="two images of a class"):
        mutual_information(data, 0)


def make_head(spec, seed=0):
    generator = torch.Generator().manual_seed(seed)
    widths = [*spec.units, spec.classes]
    matrices = tuple(torch.randn(a, b, generator=generator) for a, b in pairwise(widths))
    return TrainedHead(spec, torch.arange(spec.features), HeadWeights(matrices, (None,) * len(matrices)), 1)


def test_magnitude_of_a_neuron_is_the_product_of_the_norms_on_its_two_sides():
    spec = HeadSpec(4, (3, 2), 5)
    head = make_head(spec)
    features, first, second = unit_norms(head)
    a, b, c = (matrix.double().numpy() for matrix in head.weights.matrices)
    assert features == pytest.approx([np.sqrt((a[i] ** 2).sum()) for i in range(4)])
    assert first == pytest.approx([np.sqrt((a[:, i] ** 2).sum() * (b[i] ** 2).sum()) for i in range(3)])
    assert second == pytest.approx([np.sqrt((b[:, i] ** 2).sum() * (c[i] ** 2).sum()) for i in range(2)])


@given(st.integers(0, 2), st.floats(0.01, 100))
def test_magnitude_of_a_neuron_does_not_change_when_its_sides_are_rescaled(neuron, factor):
    head = make_head(HeadSpec(4, (3,), 5))
    before = unit_norms(head)[1]
    head.weights.matrices[0][:, neuron] *= factor
    head.weights.matrices[1][neuron] /= factor
    assert unit_norms(head)[1] == pytest.approx(before, rel=1e-5)


def test_magnitude_of_connections_is_the_size_of_their_weights():
    spec = HeadSpec(4, (3, 2), 5)
    head = make_head(spec)
    for name, matrix in (("edges", 0), ("edges_second", 1)):
        encoding = Encoding.of(name, spec)
        scores = magnitudes(encoding, head)
        genome = best(scores, 2)
        assert int(encoding.masks(genome).on.sum()) == 2
        kept = head.weights.matrices[matrix][encoding.masks(genome).on].abs()
        assert kept.min() >= head.weights.matrices[matrix].abs().flatten().sort(descending=True).values[1]


def test_units_of_several_layers_are_scored_by_their_place_within_the_layer():
    scores = comparable([np.array([5.0, 9.0, 7.0, 7.0]), np.array([100.0, 200.0])])
    assert scores.tolist() == [0.25, 1.0, 0.75, 0.5, 0.5, 1.0]
    assert best(scores, 3).tolist() == [False, True, True, False, False, True]


scores_with_ties = st.integers(1, 12).flatmap(lambda n: arrays(np.float64, n, elements=st.integers(-3, 3)))


@given(scores_with_ties, st.data())
def test_the_best_are_those_of_a_brute_force_sort(scores, data):
    size = data.draw(st.integers(0, len(scores)))
    ranked = sorted(range(len(scores)), key=lambda i: (-scores[i], i))
    assert np.flatnonzero(best(scores, size)).tolist() == sorted(ranked[:size])


@given(st.lists(st.integers(1, 9), min_size=2, max_size=3), st.data())
def test_the_best_of_several_layers_keep_the_same_share_of_each(widths, data):
    generator = np.random.default_rng(data.draw(st.integers(0, 99)))
    layers = [generator.random(width) * 10**i for i, width in enumerate(widths)]
    scores = comparable(layers)
    size = data.draw(st.integers(1, len(scores)))
    genome = best(scores, size)
    for part, layer in zip(np.split(genome, np.cumsum(widths)[:-1]), layers, strict=True):
        assert abs(part.sum() - size * len(layer) / len(scores)) <= len(widths)
        assert (best(layer, int(part.sum())) == part).all()


def test_rankings_by_name():
    data = make_data()
    spec = HeadSpec(6, (5, 4), 3)
    features = Encoding.of("features", spec)
    assert (ranking("anova", features, data, QUICK, 1) == anova(data)).all()
    assert (ranking("mutual_information", features, data, QUICK, 1) == mutual_information(data, 1)).all()
    norms = unit_norms(fitted(spec, spec.all_on(), data, QUICK, 1))
    assert (ranking("magnitude", features, data, QUICK, 1) == norms[0]).all()
    assert (ranking("magnitude", Encoding.of("second", spec), data, QUICK, 1) == norms[2]).all()
    for name in ("neurons", "units", "edges"):
        encoding = Encoding.of(name, spec)
        assert ranking("magnitude", encoding, data, QUICK, 1).shape == (encoding.length,)
        with pytest.raises(UsageError, match="use magnitude"):
            ranking("anova", encoding, data, QUICK, 1)
    with pytest.raises(UsageError, match=r"did you mean 'anova'"):
        ranking("anvoa", features, data, QUICK, 1)
    assert sorted(RANKINGS) == ["anova", "magnitude", "mutual_information"]
