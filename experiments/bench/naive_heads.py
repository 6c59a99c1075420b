"""Training masked heads the way one writes it first: dense, one candidate after another, by autograd."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Sampler, TensorDataset

from experiments.bench.rows import agreed
from moprune.errors import MopruneError
from moprune.metrics import error
from moprune.networks.heads import HeadWeights, Masks, TrainedHead
from moprune.population import Training

TOLERANCE = 1e-2
"""Largest difference of two training-set logits that counts as the same result.

Most differ by 1e-6. A hidden unit whose input is zero within rounding may open in one way and not in the other, and all
later steps differ for it; 2e-3 was seen.
"""


class Masked(nn.Module):
    """A dense head of one hidden layer that multiplies by its masks.

    Args:
        masks: of the features and of the hidden units.
        start: full-width initial weights.
    """

    features: Tensor
    units: Tensor

    def __init__(self, masks: Masks, start: HeadWeights) -> None:
        super().__init__()
        first, second = start.matrices
        self.register_buffer("features", masks[0].to(first))
        self.register_buffer("units", masks[1].to(first))
        self.hidden = nn.Linear(len(first), len(second), bias=False)
        self.output = nn.Linear(len(second), second.shape[1])
        with torch.no_grad():
            self.hidden.weight.copy_(first.T)
            self.output.weight.copy_(second.T)
            self.output.bias.zero_()

    def representation(self, x: Tensor) -> Tensor:
        """Returns what the last layer reads."""
        return torch.relu(self.hidden(x * self.features)) * self.units

    def forward(self, x: Tensor) -> Tensor:
        """Returns the logits."""
        y: Tensor = self.output(self.representation(x))
        return y


def train(
    masks: Masks, features: Tensor, labels: Tensor, start: HeadWeights, training: Training, seed: int
) -> nn.Module:
    """Trains one candidate: ``torch.optim.SGD`` and a ``DataLoader`` over the cached features."""
    head = Masked(masks, start).to(features.device)
    optimiser = torch.optim.SGD(
        head.parameters(), lr=training.learning_rate, momentum=training.momentum, nesterov=training.nesterov
    )
    order = _Order(training, len(features), seed)
    loader = DataLoader(TensorDataset(features, labels), training.batch_size, sampler=order)
    for _ in range(training.epochs):
        for x, y in loader:
            optimiser.zero_grad()
            nn.functional.cross_entropy(head(x), y).backward()
            optimiser.step()
    return head


class _Order(Sampler[int]):
    """Draws the images in the order of the batches of `Training`."""

    def __init__(self, training: Training, images: int, seed: int) -> None:
        self._training, self._images, self._seed, self._epoch = training, images, seed, 0

    def __iter__(self) -> Iterator[int]:
        self._epoch += 1
        for batch in self._training.batches(self._images, self._epoch, self._seed, torch.device("cpu")):
            yield from batch.tolist()

    def __len__(self) -> int:
        return self._images


@torch.no_grad()
def compare(naive: Sequence[nn.Module], ours: Sequence[TrainedHead], features: Tensor, labels: Tensor) -> float:
    """Returns the largest difference of training-set logits.

    Raises:
        MopruneError: the two ways disagree by more than :data:`TOLERANCE`, or in a prediction or an error rate.
    """
    largest = 0.0
    for index, (reference, head) in enumerate(zip(naive, ours, strict=True)):
        expected, logits = reference(features), head.logits(features)
        difference = float((logits - expected).abs().max())
        agreed(f"candidate {index}: logits differ from the naive loop's", difference, TOLERANCE)
        largest = max(largest, difference)
        # An image whose two largest logits are as close as rounding may go either way.
        top = expected.topk(2, dim=1).values
        clear = top[:, 0] - top[:, 1] > 2 * difference
        if bool((logits.argmax(1) != expected.argmax(1))[clear].any()):
            raise MopruneError(f"candidate {index}: predictions differ from the naive loop's")
        close = int((~clear).sum()) / len(clear)
        if abs(error(logits, labels) - error(expected, labels)) > close:
            raise MopruneError(f"candidate {index}: the error differs from the naive loop's")
    return largest
