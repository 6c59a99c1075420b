"""The contract of training strategies, and the reference they are held to."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor

from moprune.networks.heads import (
    ACTIVATIONS,
    Connections,
    HeadSpec,
    HeadWeights,
    Masks,
    TrainedHead,
    connections,
    initial_weights,
)
from moprune.population import Training, TrainingSet
from moprune.seeding import torch_generator


class StrategyContract:
    """A way to train a population of masked heads gives those of :func:`reference_fit`, to float tolerance.

    Attributes:
        tolerance: largest difference of a weight or logit, the reference being in double precision.
    """

    tolerance = 2e-4

    def fit(
        self,
        spec: HeadSpec,
        masks: Sequence[Masks],
        data: TrainingSet,
        start: HeadWeights,
        training: Training,
        seed: int,
    ) -> Sequence[TrainedHead]:
        """Trains a head for each candidate's masks; arguments as for :func:`moprune.population.fit_heads`."""
        raise NotImplementedError("override fit")

    def test_every_shape_and_activation(self) -> None:
        training = Training(epochs=4, batch_size=16, learning_rate=0.1, decay=0.01, weight_decay=0.05)
        for hidden in ((), (6,), (6, 5)):
            for bias in (False, True):
                for activation in ACTIVATIONS:
                    self._compare(HeadSpec(8, hidden, 3, activation, bias), training)

    def test_every_update_rule(self) -> None:
        for momentum, nesterov in ((0.0, False), (0.0, True), (0.9, False), (0.9, True)):
            for weight_decay in (0.0, 0.1):
                self._compare(
                    HeadSpec(8, (6,), 3, hidden_bias=True),
                    Training(
                        epochs=3, batch_size=25, learning_rate=0.05, momentum=momentum, nesterov=nesterov,
                        decay=0.1, weight_decay=weight_decay,
                    ),
                )  # fmt: skip

    def test_batches_larger_than_the_set_and_of_one_image(self) -> None:
        for batch_size in (1, 40, 1000):
            self._compare(HeadSpec(8, (6,), 3), Training(epochs=2, batch_size=batch_size))

    def test_no_epochs_leave_the_initial_weights(self) -> None:
        self._compare(HeadSpec(8, (6,), 3, hidden_bias=True), Training(epochs=0, restore_best=True))

    def test_early_stopping(self) -> None:
        base = Training(epochs=12, batch_size=10, learning_rate=0.4, momentum=0.5, weight_decay=0.0)
        for training in (
            replace(base, patience=1, min_delta=0.0),
            replace(base, patience=2, min_delta=0.02),
            replace(base, patience=2, min_delta=0.02, restore_best=True),
            replace(base, patience=None, restore_best=True, epochs=5),
            replace(base, patience=1, min_delta=1e9),
        ):
            self._compare(HeadSpec(8, (6,), 3, hidden_bias=True), training)

    def _compare(self, spec: HeadSpec, training: Training) -> None:
        data, masks = _blobs(spec), _all_kinds_of_masks(spec)
        start = initial_weights(spec, 5)
        found = list(self.fit(spec, masks, data, start, training, 7))
        expected = reference_fit(spec, masks, data, start, training, seed=7)
        assert len(found) == len(masks), f"{len(found)} heads came back for {len(masks)} candidates"
        for i, (head, reference) in enumerate(zip(found, expected, strict=True)):
            where = f"candidate {i} of {spec} with {training}"
            assert head.epochs == reference.epochs, f"{where}: {head.epochs} epochs, not {reference.epochs}"
            assert head.widths == reference.widths, f"{where}: widths {head.widths}, not {reference.widths}"
            assert torch.equal(head.kept.cpu(), reference.kept), f"{where}: it reads other features"
            assert not head.failed, f"{where}: it is marked as failed"
            off = [m.cpu()[w == 0] for m, w in zip(head.weights.matrices, reference.weights.matrices, strict=True)]
            assert all(bool((zeros == 0).all()) for zeros in off), f"{where}: a connection that is off is not zero"
            assert head.parameters() == reference.parameters(), f"{where}: {head.parameters()} weights are left"
            tensors = zip(_tensors(head.weights), _tensors(reference.weights), strict=True)
            gaps = [float((a.cpu().double() - b).abs().max()) for a, b in tensors if b.numel()]
            logits = head.logits(data.features).cpu().double() - reference.logits(data.features.double())
            worst = max([*gaps, float(logits.abs().max())])
            assert worst <= self.tolerance, f"{where}: weights or logits differ by {worst}"


def reference_fit(
    spec: HeadSpec,
    masks: Sequence[Masks],
    data: TrainingSet,
    start: HeadWeights,
    training: Training,
    *,
    seed: int,
) -> list[TrainedHead]:
    """Trains masked heads the plain way: dense layers in double precision, autograd and ``torch.optim.SGD``.

    A mask multiplies the (post-activation) outputs of its layer, or the weights of its matrix. Slow, and written to
    be compared with.

    Returns:
        One head for each candidate, its float64 weights cut to the units that are on.
    """
    return [_reference_fit_one(spec, candidate, data, start, training, seed) for candidate in masks]


def _reference_fit_one(
    spec: HeadSpec, masks: Masks, data: TrainingSet, start: HeadWeights, training: Training, seed: int
) -> TrainedHead:
    features, labels = data.features.cpu().double(), data.labels.cpu()
    matrices = [m.cpu().double().requires_grad_() for m in start.matrices]
    biases = [None if b is None else b.cpu().double().requires_grad_() for b in start.biases]
    parameters = [*matrices, *(b for b in biases if b is not None)]
    nesterov = training.nesterov and training.momentum > 0  # torch refuses the one without the other
    optimizer = torch.optim.SGD(parameters, lr=training.learning_rate, momentum=training.momentum, nesterov=nesterov)
    activation = ACTIVATIONS[spec.activation]()
    on = [connections(masks, i) for i in range(len(matrices))]

    def logits(x: Tensor) -> Tensor:
        for layer, (mask, matrix, bias) in enumerate(zip(masks, matrices, biases, strict=True)):
            x = (x if layer == 0 else activation(x)) * mask.double()
            kept = on[layer]
            x = x @ (matrix if kept is None else matrix * kept.double()) + (0.0 if bias is None else bias)
        return x

    least, waited, epoch, step = float("inf"), 0, 0, 0
    best: list[Tensor] | None = None
    for epoch in range(1, training.epochs + 1):
        total = 0.0
        for batch in training.batches(len(features), epoch, seed, torch.device("cpu")):
            rate = training.learning_rate / (1 + training.decay * step)
            optimizer.param_groups[0]["lr"] = rate
            loss = torch.nn.functional.cross_entropy(logits(features[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            with torch.no_grad():
                for matrix in matrices:
                    matrix *= 1 - rate * training.weight_decay
            optimizer.step()
            total += loss.item() * len(batch)
            step += 1
        mean = total / len(features)
        if mean < least - training.min_delta:
            least, waited = mean, 0
            best = [p.detach().clone() for p in parameters]
        else:
            waited += 1
        if training.patience is not None and waited >= training.patience:
            break
    with torch.no_grad():
        if training.restore_best and best is not None:
            for parameter, value in zip(parameters, best, strict=True):
                parameter.copy_(value)
        weights = HeadWeights(
            tuple(m.detach() for m in matrices), tuple(None if b is None else b.detach() for b in biases)
        ).compact(masks)
    return TrainedHead.of(spec, masks, weights, epoch)


def _blobs(spec: HeadSpec, images: int = 50) -> TrainingSet:
    generator = torch_generator(0, "contract features")
    labels = torch.arange(images) % spec.classes
    centres = torch.randn(spec.classes, spec.features, generator=generator)
    return TrainingSet(centres[labels] + torch.randn(images, spec.features, generator=generator), labels)


def _all_kinds_of_masks(spec: HeadSpec) -> list[Masks]:
    """Returns masks of all units, of none, of one a layer, of none in the last layer alone, and random ones.

    Between them, so that candidates of both kinds meet in a stack, connections of each matrix: none and random ones.
    """
    generator = torch_generator(0, "contract masks")
    widths = spec.units
    kinds = [
        spec.all_on(),
        tuple(torch.zeros(width, dtype=torch.bool) for width in widths),
        tuple(torch.arange(width) == 0 for width in widths),
        tuple(torch.arange(width) == width - 1 for width in widths),
        (*spec.all_on()[:-1], torch.zeros(widths[-1], dtype=torch.bool)),
    ]
    for density in (0.2, 0.5, 0.8):
        kinds.append(tuple(torch.rand(width, generator=generator) < density for width in widths))
    shapes = list(pairwise([*widths, spec.classes]))
    for matrix, shape in enumerate(shapes):
        kinds.insert(2, Connections(spec, matrix, torch.rand(shape, generator=generator) < 0.5))
    return [*kinds, Connections(spec, 0, torch.zeros(shapes[0], dtype=torch.bool))]


def _tensors(weights: HeadWeights) -> list[Tensor]:
    return [*weights.matrices, *(b for b in weights.biases if b is not None)]
