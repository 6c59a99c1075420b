"""Unstructured pruning by magnitude: single weights of the trained dense head, at once or step by step."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from moprune.networks.heads import TrainedHead
from moprune.population import Training, TrainingSet
from problems.pruning.controls.descent import descend, without_dead_units
from problems.pruning.controls.points import Point, Setting
from problems.pruning.encodings import Encoding
from problems.pruning.rankings import fitted

FINE_TUNING = 25
"""Epochs of training after the last weight was cut."""
RAMP = 25
"""Epochs over which the sparsity of polynomial decay grows."""
EVERY = 5
"""Epochs between two cuts of polynomial decay."""


@dataclass(frozen=True)
class PolynomialDecay:
    """Sparsity that grows fast at first and ever more slowly (Zhu & Gupta 2017, equation 1).

    Attributes:
        final: sparsity at the end, in [0, 1).
        end: step of the last cut, >= 1; the first is before step 0.
        every: steps between two cuts, >= 1.
        initial: sparsity of the first cut.
        power: exponent of the polynomial.
    """

    final: float
    end: int
    every: int
    initial: float = 0.1
    power: float = 3.0

    def cuts(self, step: int) -> bool:
        """Whether weights are cut after ``step`` steps."""
        return step <= self.end and step % self.every == 0

    def sparsity(self, step: int) -> float:
        """Returns the share of weights that are zero after ``step`` steps."""
        left: float = max(0.0, 1.0 - step / self.end) ** self.power
        return self.final + (min(self.initial, self.final) - self.final) * left


@dataclass(frozen=True)
class SparseWeights:
    """Trains the dense head, sets its smallest weights to zero, and trains on at that sparsity.

    Pruned are the matrices that feed the encoding's units (for features: that they feed), each at the same sparsity;
    what is zero stays zero. Features and neurons left without a connection are cut out of the head.

    Attributes:
        encoding: says which matrices are pruned.
        share: share of each one's weights kept, in (0, 1].
        training: how the head is trained, before and after.
        seed: the run seed.
        ramp: epochs over which the sparsity grows by :class:`PolynomialDecay`; 0: all is cut at once.
        fine_tuning: epochs trained at the final sparsity.
    """

    encoding: Encoding
    share: float
    training: Training
    seed: int
    ramp: int = 0
    fine_tuning: int = 0

    def __call__(self, data: TrainingSet) -> TrainedHead:
        """Returns the head."""
        spec = self.encoding.spec
        dense = fitted(spec, spec.all_on(), data, self.training, self.seed)
        cut = _Cut(pruned_matrices(self.encoding), self.share, self.schedule(len(data.labels)))
        epochs = self.ramp + self.fine_tuning
        weights = descend(spec, dense.weights, data, self.training, epochs=epochs, seed=self.seed, project=cut)
        return without_dead_units(spec, weights, dense.epochs + epochs)

    def schedule(self, images: int) -> PolynomialDecay | None:
        """Returns when to cut how much with so many images; None if all at once."""
        steps = -(-images // self.training.batch_size)
        return PolynomialDecay(1.0 - self.share, self.ramp * steps, EVERY * steps) if self.ramp else None


class _Cut:
    """Keeps weights at zero, and sets more of them to zero when the schedule says."""

    def __init__(self, layers: Sequence[int], share: float, schedule: PolynomialDecay | None) -> None:
        self.layers, self.share, self.schedule = layers, share, schedule
        self.masks: dict[int, Tensor] = {}

    def __call__(self, step: int, matrices: Sequence[Tensor]) -> None:
        self._clear(matrices)  # first, lest a step brings a weight back into the choice of the largest
        if step == 0 or (self.schedule is not None and self.schedule.cuts(step)):
            share = self.share if self.schedule is None else 1.0 - self.schedule.sparsity(step)
            self.masks = {layer: largest(matrices[layer], share) for layer in self.layers}
            self._clear(matrices)

    def _clear(self, matrices: Sequence[Tensor]) -> None:
        for layer, mask in self.masks.items():
            matrices[layer].masked_fill_(~mask, 0.0)


def largest(matrix: Tensor, share: float) -> Tensor:
    """Returns where a matrix has its weights of largest magnitude, boolean; that share of them, at least one.

    Of equal weights the first, row by row, are kept.
    """
    order = matrix.abs().flatten().sort(descending=True, stable=True).indices
    mask = torch.zeros(matrix.numel(), dtype=torch.bool, device=matrix.device)
    mask[order[: max(1, round(share * matrix.numel()))]] = True
    return mask.view(matrix.shape)


def pruned_matrices(encoding: Encoding) -> list[int]:
    """Returns the indices of the matrices whose weights belong to the encoding's units."""
    return sorted({max(0, layer - 1) for layer in encoding.layers})


def magnitude_weights(setting: Setting) -> list[Point]:
    """Returns the dense head without its smallest weights at several sparsities, as it is and fine-tuned."""
    points = []
    for share, recipe in _recipes(setting):
        points.append(Point(f"{share} of weights", fit=recipe))
        points.append(Point(f"{share} of weights, fine-tuned", fit=replace(recipe, fine_tuning=FINE_TUNING)))
    return points


def polynomial_decay(setting: Setting) -> list[Point]:
    """Returns the dense head pruned step by step to several sparsities, then fine-tuned.

    As EvoPruneDeepTL's control: from 10 % over 25 epochs, a cut every five; fine-tuned for 25 epochs, where the
    published one has a single epoch left.
    """
    return [
        Point(f"{share} of weights", fit=replace(recipe, ramp=RAMP, fine_tuning=FINE_TUNING))
        for share, recipe in _recipes(setting)
    ]


def _recipes(setting: Setting) -> list[tuple[str, SparseWeights]]:
    shares = [size / setting.encoding.length for size in sorted(set(setting.sizes))]
    return [
        (f"{100 * share:.6g} %", SparseWeights(setting.encoding, share, setting.training, setting.seed))
        for share in shares
    ]
