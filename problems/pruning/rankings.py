"""Rankings: what a look at the training set, or at a trained dense head, says of each bit of a genome."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from moprune.data import StoredFeatures
from moprune.errors import UsageError, not_one_of
from moprune.networks.heads import HeadSpec, Masks, TrainedHead, initial_weights
from moprune.population import Training, TrainingSet, fit_heads
from moprune.seeding import derive
from problems.pruning.encodings import Encoding

Scores = NDArray[np.float64]

_ROWS = 4096  # of features in memory that are taken in double precision at once

RANKINGS: Mapping[str, str] = MappingProxyType(
    {
        "anova": "F statistic of a one-way analysis of variance of each feature over the classes",
        "mutual_information": "mutual information of each feature and the class, by nearest neighbours",
        "magnitude": "norm of each unit's weights, or size of each weight, in the trained head with all units on",
    }
)


def ranking(name: str, encoding: Encoding, data: TrainingSet, training: Training, seed: int) -> Scores:
    """Returns a score for each bit of a genome, ``(length,)``, finite; higher: keep.

    Scores are comparable over the bits of one encoding. Where it covers several layers, a score is the unit's place
    within its layer as a share of the layer's width, in (0, 1]: the best k bits keep the same share of each layer.

    Args:
        name: one of :data:`RANKINGS`.
        encoding: what the bits switch; ``anova`` and ``mutual_information`` score features alone.
        data: the training set it may look at.
        training: how the dense head of ``magnitude`` is trained.
        seed: the run seed: initial weights and batch order of ``magnitude``, the jitter of ``mutual_information``.

    Raises:
        UsageError: unknown name, an encoding that it cannot score, or data without two classes.
    """
    if name not in RANKINGS:
        raise not_one_of("ranking", name, RANKINGS)
    if name != "magnitude" and encoding.layers != (0,):
        raise UsageError(f"ranking {name!r} scores features, and this encoding switches something else; use magnitude")
    if name == "anova":
        return anova(data)
    if name == "mutual_information":
        return mutual_information(data, seed)
    return magnitudes(encoding, fitted(encoding.spec, encoding.spec.all_on(), data, training, seed))


def anova(data: TrainingSet) -> Scores:
    """Returns each feature's F statistic, ``(D,)``, >= 0; -1 for features that are constant or have none.

    A feature constant within each class and not over all has an infinite one, given as the largest finite number. Sums
    are taken row after row, in double precision, so that features on disk are read once.

    Raises:
        UsageError: features that are not finite, or fewer than two classes.
    """
    classes, place = data.labels.cpu().unique(return_inverse=True)
    _check_classes(len(classes))
    matrix, done = data.matrix, 0
    width = matrix.shape[1]
    sums, squares = (torch.zeros(len(classes), width, dtype=torch.float64) for _ in range(2))
    least, most = torch.full((width,), torch.inf), torch.full((width,), -torch.inf)
    for block in matrix.blocks() if isinstance(matrix, StoredFeatures) else matrix.split(_ROWS):
        rows = block.cpu()
        _check_finite(bool(rows.isfinite().all()))
        least, most = least.minimum(rows.amin(0)), most.maximum(rows.amax(0))
        of, doubles = place[done : done + len(rows)], rows.double()
        sums.index_add_(0, of, doubles)
        squares.index_add_(0, of, doubles.square_())
        done += len(rows)
    f = _f_statistic(sums.numpy(), squares.numpy(), place.bincount().numpy()[:, None])
    return np.where((most > least).numpy(), np.nan_to_num(f, nan=-1.0), -1.0)


def _f_statistic(sums: Scores, squares: Scores, counts: NDArray[np.int64]) -> Scores:
    """Returns the variance between classes by that within them, from each class's sums ``(classes, D)``."""
    images, classes = int(counts.sum()), len(counts)
    common = sums.sum(0) ** 2 / images
    between = (sums**2 / counts).sum(0) - common
    within = squares.sum(0) - common - between
    with np.errstate(all="ignore"):  # of constant features, and of a quotient of zeros
        f: Scores = (between / (classes - 1)) / (within / np.float64(images - classes))
    return f


def mutual_information(data: TrainingSet, seed: int) -> Scores:
    """Returns each feature's mutual information with the class in nats, ``(D,)``, >= 0; -1 for constant features.

    The estimate is that of Ross (2014, "Mutual information between discrete and continuous data sets") with three
    neighbours, ties broken by jitter.

    Raises:
        UsageError: features that are not finite, fewer than two classes, or no class with two images.
    """
    from sklearn.feature_selection import mutual_info_classif

    if int(torch.bincount(data.labels).max()) < 2:
        raise UsageError("mutual information needs two images of a class; take more images, or ranking anova")
    jitter = derive(seed, "mutual information") % 2**32  # what scikit-learn takes
    features = data.features.cpu().numpy().astype(np.float64)
    labels = data.labels.cpu().numpy()
    _check_finite(bool(np.isfinite(features).all()))
    _check_classes(len(np.unique(labels)))
    scores = np.full(features.shape[1], -1.0)
    varies = np.ptp(features, axis=0) > 0  # the others come last
    if varies.any():
        found = mutual_info_classif(features[:, varies], labels, discrete_features=False, random_state=jitter)
        scores[varies] = np.nan_to_num(found, nan=-1.0)
    return scores


def _check_finite(finite: bool) -> None:
    if not finite:
        raise UsageError("features to be ranked hold values that are not finite; check the network and its inputs")


def _check_classes(number: int) -> None:
    if number < 2:
        raise UsageError("features are ranked by how they tell classes apart; give images of at least two classes")


def fitted(spec: HeadSpec, masks: Masks, data: TrainingSet, training: Training, seed: int) -> TrainedHead:
    """Returns one head trained as any candidate is, from the common initial weights."""
    (head,) = fit_heads(spec, [masks], data, initial_weights(spec, seed), training, then=lambda head: head, seed=seed)
    return head


def magnitudes(encoding: Encoding, dense: TrainedHead) -> Scores:
    """Returns the magnitude of each bit's unit or connection in a trained head with all units on, ``(length,)``.

    See :func:`unit_norms` and, for several layers, :func:`ranking`; a connection's is that of its weight.
    """
    if encoding.edges:
        (layer,) = encoding.layers
        weights: Scores = dense.weights.matrices[layer - 1].double().abs().flatten().cpu().numpy()
        return weights
    norms = unit_norms(dense)
    return comparable([norms[layer] for layer in encoding.layers])


def unit_norms(head: TrainedHead) -> list[Scores]:
    """Returns the magnitude of each unit, a layer at a time: features first, then each hidden layer.

    A feature's is the L2 norm of its outgoing weights. A neuron's is the product of the L2 norms of its incoming and
    its outgoing weights, which does not change when the one is scaled up and the other down (a rectified neuron then
    computes the same).
    """
    outgoing = [_norms(matrix, 1) for matrix in head.weights.matrices]
    incoming = [_norms(matrix, 0) for matrix in head.weights.matrices[:-1]]
    return [outgoing[0], *(i * o for i, o in zip(incoming, outgoing[1:], strict=True))]


def _norms(matrix: Tensor, dimension: int) -> Scores:
    norms: Scores = matrix.double().norm(dim=dimension).cpu().numpy()
    return norms


def comparable(layers: Sequence[Scores]) -> Scores:
    """Returns one layer's scores as they are; of several, each unit's place as a share of its layer's width."""
    if len(layers) == 1:
        return layers[0]
    return np.concatenate([(len(s) - np.argsort(_order(s))) / len(s) for s in layers])


def best(scores: Scores, size: int) -> NDArray[np.bool_]:
    """Returns the genome ``(length,)`` of the ``size`` highest scores; of equal ones, the first."""
    genome = np.zeros(len(scores), dtype=bool)
    genome[_order(scores)[:size]] = True
    return genome


def _order(scores: Scores) -> NDArray[np.int64]:
    """Returns the indices from the highest score to the lowest."""
    return np.argsort(-scores, kind="stable")
