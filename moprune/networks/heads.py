"""Classification heads on frozen features: their shape, their common initial weights, and the compact result.

A head is a chain of fully connected layers: ``features -> hidden[0] -> ... -> classes``. Every layer but the
classes consists of *units* that a mask can switch off. A unit that is off is absent: its rows and columns are cut
out of the weights, which equals multiplying its (post-activation) output by zero, exactly. Single weights of one
matrix can be switched off too (:class:`Connections`); they stay in place and are zero.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType

import torch
from torch import Tensor, nn

from moprune.errors import UsageError, not_one_of
from moprune.networks.products import product
from moprune.seeding import torch_generator

ACTIVATIONS: Mapping[str, type[nn.Module]] = MappingProxyType({"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid})

Masks = tuple[Tensor, ...]
"""One boolean mask per unit layer of a head (features first), ``(width,)`` each; :class:`Connections` are masks too."""


@dataclass(frozen=True)
class HeadSpec:
    """The shape of a head before anything is pruned.

    Attributes:
        features: number of input features D, >= 1.
        hidden: widths of the hidden layers, each >= 1; empty for a linear head.
        classes: number of classes C, >= 2.
        activation: one of :data:`ACTIVATIONS`, applied after each hidden layer.
        hidden_bias: whether hidden layers have a bias (EvoPruneDeepTL's sparse layers have none); the output
            layer always has one.
    """

    features: int
    hidden: tuple[int, ...]
    classes: int
    activation: str = "relu"
    hidden_bias: bool = False

    def __post_init__(self) -> None:
        if self.activation not in ACTIVATIONS:
            raise not_one_of("activation", self.activation, ACTIVATIONS)
        if min((self.features, *self.hidden), default=0) < 1 or self.classes < 2:
            raise UsageError(
                f"a head needs >= 1 feature, >= 1 unit a hidden layer and >= 2 classes, not {self.features} "
                f"features, hidden {list(self.hidden)}, {self.classes} classes"
            )

    @property
    def units(self) -> tuple[int, ...]:
        """Widths of the layers a mask can prune: the features, then each hidden layer."""
        return (self.features, *self.hidden)

    def all_on(self) -> Masks:
        """Returns the masks of the unpruned head."""
        return tuple(torch.ones(width, dtype=torch.bool) for width in self.units)

    def parameters(self, kept: Sequence[int] | None = None) -> int:
        """Returns the number of weights and biases of the compact head with ``kept`` units a layer."""
        widths = [*(self.units if kept is None else kept), self.classes]
        biases = [*(self.hidden if kept is None else kept[1:])] if self.hidden_bias else []
        return sum(a * b for a, b in pairwise(widths)) + sum(biases) + self.classes


class Connections(tuple[Tensor, ...]):
    """The masks of a head with all units on, and a mask over the weights of one of its matrices.

    A weight that is off is zero at the start, in every forward pass and after training.

    Args:
        spec: the shape before pruning.
        matrix: which matrix; ``matrix`` i leads from unit layer i to the next layer, or to the classes.
        on: boolean, ``(fan in, fan out)`` of that matrix; on the device the masks shall have.

    Raises:
        UsageError: the head has no such matrix, or the mask does not fit it.
    """

    spec: HeadSpec
    matrix: int
    on: Tensor

    def __new__(cls, spec: HeadSpec, matrix: int, on: Tensor) -> "Connections":
        """Makes the masks; a tuple is filled before ``__init__``."""
        shapes = list(pairwise([*spec.units, spec.classes]))
        if not 0 <= matrix < len(shapes):
            raise UsageError(f"a head of {len(shapes)} matrices has no matrix {matrix}")
        if on.shape != shapes[matrix] or on.dtype != torch.bool:
            raise UsageError(
                f"connections of matrix {matrix} must be boolean of shape {shapes[matrix]}, not {on.dtype} of "
                f"{tuple(on.shape)}"
            )
        self = super().__new__(cls, (torch.ones(w, dtype=torch.bool, device=on.device) for w in spec.units))
        self.spec, self.matrix, self.on = spec, matrix, on
        return self

    def __getnewargs__(self) -> tuple[HeadSpec, int, Tensor]:
        return self.spec, self.matrix, self.on


def connections(masks: Masks, matrix: int) -> Tensor | None:
    """Returns which weights of a matrix are on, ``(fan in, fan out)``, or None if only units are masked."""
    return masks.on if isinstance(masks, Connections) and masks.matrix == matrix else None


def placed_on(masks: Masks, device: torch.device) -> Masks:
    """Returns the masks on a device."""
    if isinstance(masks, Connections):
        return Connections(masks.spec, masks.matrix, masks.on.to(device))
    return tuple(mask.to(device) for mask in masks)


@dataclass(frozen=True)
class HeadWeights:
    """The weights of a head: ``matrices[i]`` is ``(fan in, fan out)``; ``biases[i]`` is ``(fan out,)`` or None."""

    matrices: tuple[Tensor, ...]
    biases: tuple[Tensor | None, ...]

    def compact(self, masks: Masks) -> "HeadWeights":
        """Returns copies holding only the units that are on; connections that are off are zero."""
        keep = [mask.nonzero()[:, 0] for mask in masks]
        matrices, biases = [], []
        for i, (matrix, bias) in enumerate(zip(self.matrices, self.biases, strict=True)):
            on = connections(masks, i)
            rows = (matrix if on is None else matrix * on).index_select(0, keep[i])
            if i + 1 < len(keep):  # the units of the next layer are this matrix's columns; classes all stay
                rows = rows.index_select(1, keep[i + 1])
                bias = None if bias is None else bias.index_select(0, keep[i + 1])
            matrices.append(rows)
            biases.append(None if bias is None else bias.clone())
        return HeadWeights(tuple(matrices), tuple(biases))

    def to(self, device: torch.device) -> "HeadWeights":
        """Returns the weights on ``device``."""
        return HeadWeights(
            tuple(m.to(device) for m in self.matrices),
            tuple(None if b is None else b.to(device) for b in self.biases),
        )


def initial_weights(spec: HeadSpec, seed: int, repeat: int = 0) -> HeadWeights:
    """Returns the initial weights every candidate of a run shares: Glorot uniform, biases zero.

    Candidates differ in their masks alone (common random numbers); ``repeat`` numbers independent draws.
    """
    generator = torch_generator(seed, "head weights", repeat)
    matrices, biases = [], []
    widths = [*spec.units, spec.classes]
    for layer, (rows, columns) in enumerate(pairwise(widths)):
        bound = (6.0 / (rows + columns)) ** 0.5
        matrices.append((torch.rand(rows, columns, generator=generator) * 2 - 1) * bound)
        has_bias = spec.hidden_bias or layer == len(widths) - 2
        biases.append(torch.zeros(columns) if has_bias else None)
    return HeadWeights(tuple(matrices), tuple(biases))


@dataclass(frozen=True)
class TrainedHead:
    """A trained compact head.

    Attributes:
        spec: the shape before pruning.
        kept: indices of the features it reads, ``(d,)`` int64.
        weights: compact weights.
        epochs: epochs trained before it stopped.
        failed: whether training diverged (weights not finite); such a head predicts nothing.
        removed: weights among ``weights`` that are zero since their connection is off.
    """

    spec: HeadSpec
    kept: Tensor
    weights: HeadWeights
    epochs: int
    failed: bool = False
    removed: int = 0

    @classmethod
    def of(cls, spec: HeadSpec, masks: Masks, weights: HeadWeights, epochs: int) -> "TrainedHead":
        """Returns the head with these compact weights, which training gave a candidate with these masks."""
        return cls(
            spec,
            kept=masks[0].nonzero()[:, 0],
            weights=weights,
            epochs=epochs,
            failed=not all(bool(matrix.isfinite().all()) for matrix in weights.matrices),
            removed=int((~masks.on).sum()) if isinstance(masks, Connections) else 0,
        )

    @property
    def widths(self) -> tuple[int, ...]:
        """Units left in each layer, the features first."""
        return tuple(matrix.shape[0] for matrix in self.weights.matrices)

    def parameters(self) -> int:
        """Returns the number of weights and biases that are left."""
        return self.spec.parameters(self.widths) - self.removed

    def logits(self, features: Tensor) -> Tensor:
        """Returns logits ``(n, C)`` for full-width features ``(n, D)`` on the head's device."""
        return product(self.representation(features), self.weights.matrices[-1], self.weights.biases[-1])

    def representation(self, features: Tensor) -> Tensor:
        """Returns what the last layer reads, ``(n, d)``: the last hidden layer's outputs, or the kept features."""
        x = features.index_select(1, self.kept)
        for matrix, bias in zip(self.weights.matrices[:-1], self.weights.biases[:-1], strict=True):
            x = activated(self.spec.activation, x, matrix, bias)
        return x

    def module(self) -> nn.Sequential:
        """Returns the head as an ordinary module from full-width features ``(n, D)`` to logits ``(n, C)``."""
        # Clones, since a trained head holds inference tensors, which autograd refuses: a module can be trained on.
        layers: list[nn.Module] = [SelectFeatures(self.kept.cpu().clone())]
        last = len(self.weights.matrices) - 1
        for layer, (matrix, bias) in enumerate(zip(self.weights.matrices, self.weights.biases, strict=True)):
            # Made of size 1 and filled: torch warns of a layer without inputs, which an empty mask leaves.
            linear = nn.Linear(1, 1, bias=bias is not None, device="meta")
            linear.in_features, linear.out_features = matrix.shape
            linear.weight = nn.Parameter(
                matrix.cpu().T.clone(memory_format=torch.contiguous_format), requires_grad=False
            )
            if bias is not None:
                linear.bias = nn.Parameter(bias.cpu().clone(), requires_grad=False)
            layers.append(linear)
            if layer < last:
                layers.append(ACTIVATIONS[self.spec.activation]())
        return nn.Sequential(*layers).eval()


class SelectFeatures(nn.Module):
    """Passes on the features, or channels, of the given indices: ``(n, D, ...) -> (n, d, ...)``."""

    indices: Tensor

    def __init__(self, indices: Tensor) -> None:
        super().__init__()
        self.register_buffer("indices", indices)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the selected features."""
        return x.index_select(1, self.indices)


def activated(name: str, a: Tensor, b: Tensor, bias: Tensor | None = None) -> Tensor:
    """Returns the outputs of a layer after its activation; arguments as of :data:`product`."""
    return product(a, b, bias, True) if name == "relu" else activate(name, product(a, b, bias))


def activate(name: str, x: Tensor) -> Tensor:
    """Applies an activation in place and returns it."""
    if name == "relu":
        return x.relu_()
    return x.tanh_() if name == "tanh" else x.sigmoid_()


def activation_gradient(name: str, gradient: Tensor, output: Tensor) -> Tensor:
    """Returns the gradient before an activation from that after it and the activation's output."""
    if name == "relu":
        backward: Tensor = torch.ops.aten.threshold_backward(gradient, output, 0)
    elif name == "tanh":
        backward = torch.ops.aten.tanh_backward(gradient, output)
    else:
        backward = torch.ops.aten.sigmoid_backward(gradient, output)
    return backward
