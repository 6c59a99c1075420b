"""The group lasso: a penalty on the norm of each unit's weights in the head itself, which leaves few units."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from moprune.networks.heads import HeadWeights, Masks, TrainedHead, initial_weights
from moprune.population import Training, TrainingSet
from problems.pruning.controls.descent import descend
from problems.pruning.controls.points import Point, Setting, distinct
from problems.pruning.encodings import Encoding

SHARES = tuple(float(share) for share in np.geomspace(1.0, 0.03, 12))
"""Penalties of the path, as shares of the largest slope of a unit in the initial head."""
SLOWER = 4.0
"""Divides the learning rate: at the full one the noise of small batches turns units on and off by chance."""


@dataclass(frozen=True)
class GroupLasso:
    """Trains a head with a penalty on the L2 norm of each unit's weights, and cuts out the units left with none.

    The group of a feature is its outgoing weights, that of a neuron its incoming ones, each norm times the square root
    of the group's size (Yuan & Lin 2006). After each step the norms shrink by the penalty times the step's length
    (proximal gradient descent). With momentum ``mu`` a step comes to ``rate / (1 - mu)``; so taken, a head at rest
    meets the optimality conditions of loss plus penalty.

    Attributes:
        encoding: the units; features or neurons, not both, whose groups would share weights.
        share: the penalty as a share of :meth:`largest_slope`, > 0.
        training: how the head is trained; for all its epochs, at a slower rate.
        seed: the run seed.
    """

    encoding: Encoding
    share: float
    training: Training
    seed: int

    def __call__(self, data: TrainingSet) -> TrainedHead:
        """Returns the head of the units it keeps."""
        weights, masks = self.fit(data)
        return TrainedHead.of(self.encoding.spec, masks, weights.compact(masks), self.training.epochs)

    def fit(self, data: TrainingSet) -> tuple[HeadWeights, Masks]:
        """Returns full-width weights, and masks of the units whose weights are not all zero."""
        spec = self.encoding.spec
        training = replace(self.training, learning_rate=self.training.learning_rate / SLOWER)
        penalty = self.share * self.largest_slope(data)

        def shrink(step: int, matrices: Sequence[Tensor]) -> None:
            if step > 0:
                length = training.rate(step - 1) / (1 - training.momentum)
                for matrix, dimension in self._groups(matrices):
                    fall = length * penalty * matrix.shape[dimension] ** 0.5
                    norms = matrix.norm(dim=dimension, keepdim=True)
                    matrix.mul_((1 - fall / norms).clamp_min_(0).nan_to_num_(nan=0.0))

        start = initial_weights(spec, self.seed)
        weights = descend(spec, start, data, training, epochs=training.epochs, seed=self.seed, project=shrink)
        masks = [mask.to(data.device) for mask in spec.all_on()]
        for layer, (matrix, dimension) in zip(self.encoding.layers, self._groups(weights.matrices), strict=True):
            masks[layer] = (matrix != 0).any(dimension)
        return weights, tuple(masks)

    def largest_slope(self, data: TrainingSet) -> float:
        """Returns the largest norm of the loss's gradient over a group in the initial head, by the root of its size."""
        with torch.inference_mode(False), torch.enable_grad():
            spec, device = self.encoding.spec, data.device
            start = initial_weights(spec, self.seed).to(device)
            for matrix in start.matrices:
                matrix.requires_grad_()
            head = TrainedHead(spec, torch.arange(spec.features, device=device), start, 0)
            loss = torch.nn.functional.cross_entropy(head.logits(data.features.clone()), data.labels.clone())
            gradients = torch.autograd.grad(loss, start.matrices)
        slopes = [g.norm(dim=along).max() / g.shape[along] ** 0.5 for g, along in self._groups(gradients)]
        return float(max(slopes))

    def _groups(self, matrices: Sequence[Tensor]) -> list[tuple[Tensor, int]]:
        """Returns each layer's matrix of its units' weights, and the dimension along which a group lies."""
        return [(matrices[max(0, layer - 1)], 0 if layer > 0 else 1) for layer in self.encoding.layers]


def features_or_neurons(encoding: Encoding) -> bool:
    """Suits encodings over features or over neurons, not over both, nor over connections."""
    return not encoding.edges and (encoding.layers == (0,) or 0 not in encoding.layers)


def path(setting: Setting) -> list[Point]:
    """Returns the path: each penalty's own head, and the units it keeps, trained as any candidate."""
    encoding, recipes, genomes = setting.encoding, [], []
    for share in SHARES:
        recipe = GroupLasso(encoding, share, setting.training, setting.seed)
        _, masks = recipe.fit(setting.data)
        genome = encoding.genome(tuple(mask.cpu() for mask in masks))
        recipes.append(Point(f"penalty {share:.3f}", fit=recipe))
        genomes.append(Point(f"penalty {share:.3f}, retrained", genome))
    return [*recipes, *distinct(genomes)]
