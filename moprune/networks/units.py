"""The parts of a network that are tuned or frozen as one: stem, blocks or stages, head, found in its module tree.

Three kinds of modules make up the tree:

*layer*: one module with parameters, normalisation aside, and what it comes with (a convolution, its normalisation).
*block*: holds more than that, or a sequence inside, and is used as a whole (a residual, dense or inception block).
*container*: a `Sequential` or the like, a module with a list of equal blocks in it, or what is around the classifier.

Containers are opened, and what is found in them put together:

*head*: the classifier (`head_of`) with the linear layers right before it, and the normalisation behind the last block.
*stem*: all layers before the first block. A network without blocks has no stem.
*block* (granularity ``block``): each block, and each layer, with the normalisation behind it.
*stage* (granularity ``stage``): blocks of one class in a row in one container, up to where the resolution falls (a
strided convolution or pooling); layers in a row, in a network without blocks likewise.

The blocks of BioTune (Davila et al. 2025, IEEE Access 13) are the stages of ResNet, DenseNet and VGG and the blocks of
Inception-v3.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from torch import nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.pooling import _AvgPoolNd, _MaxPoolNd

from moprune.errors import UsageError, not_one_of
from moprune.networks.features import head_of
from moprune.networks.selection import KINDS, select

Granularity = Literal["stage", "block"]
Parts = Literal["whole", "split"]

_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


@dataclass(frozen=True)
class Unit:
    """Parameters that are tuned or frozen as one.

    Attributes:
        name: of its module, ``first..last`` of several; with ``/weights``, ``/norms`` or ``/biases`` behind it for a
            part of one.
        parameters: their names, in the network's order.
        kind: what it is in the network.
    """

    name: str
    parameters: tuple[str, ...]
    kind: Literal["stem", "block", "stage", "head"]


def units(
    network: nn.Module,
    granularity: Granularity = "stage",
    parts: Parts = "whole",
    override: Mapping[str, Sequence[str]] | None = None,
) -> tuple[Unit, ...]:
    """Returns the units of a network, with every floating-point parameter in exactly one.

    Args:
        network: is only looked at, and never run.
        granularity: ``stage`` or ``block``, as told at the top of this module.
        parts: ``whole``, or ``split`` for up to three of each but the head: weights, affine parameters of
            normalisation layers, biases.
        override: instead of what would be found, patterns of `select` for each unit by name. The one with the
            classifier is the head, and one called ``stem`` the stem.

    Returns:
        Units in the order modules were registered, which is that of the forward pass in all classifiers of torchvision;
        the head comes last. A tied parameter counts under its first name.

    Raises:
        UsageError: there is no such granularity or division, the network has no parameters, or the override names
            nothing, a parameter twice or not all of them.
    """
    if granularity not in get_args(Granularity):
        raise not_one_of("granularity", granularity, get_args(Granularity))
    if parts not in get_args(Parts):
        raise not_one_of("parts", parts, get_args(Parts))
    if not any(parameter.is_floating_point() for parameter in network.parameters()):
        raise UsageError(f"units: {type(network).__name__} has no parameters; give a network with some to tune")
    tree = _Tree(network)
    found = tree.units(granularity) if override is None else _given(tree, granularity, override)
    found = sorted(found, key=lambda unit: unit.kind == "head")
    if parts == "whole":
        return tuple(found)
    return tuple(part for unit in found for part in _split(network, unit))


@dataclass(frozen=True)
class _Piece:
    """A module (or parameter) that is not opened; `falls` says that the resolution does so, in it and behind it."""

    name: str
    parameters: tuple[str, ...]
    kind: Literal["norm", "layer", "block", "head"]
    type: type
    falls: tuple[bool, bool] = (False, False)

    @property
    def container(self) -> str:
        return self.name.rpartition(".")[0]


class _Tree:
    """The module tree of a network, cut into pieces."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.names = select(network, ["all"])
        norms = KINDS["norms"](network)
        self._norms = {id(parameter) for name, parameter in network.named_parameters() if name in norms}
        self.head = self._head()
        self.pieces: list[_Piece] = []
        falls = False
        for piece in self._pieces("", network):
            falls = falls or piece.falls[0]
            if piece.parameters:
                self.pieces.append(replace(piece, falls=(falls, piece.falls[1])))
                falls = False
            falls = falls or piece.falls[1]

    def units(self, granularity: Granularity) -> list[Unit]:
        blocks = [index for index, piece in enumerate(self.pieces) if piece.kind == "block"]
        stem = blocks[0] if blocks else 0
        groups: list[list[_Piece]] = []
        for index, piece in enumerate(self.pieces):
            in_stem = index < stem and "head" not in (piece.kind, groups[-1][-1].kind if groups else "")
            if groups and (in_stem or _joins(groups[-1], piece, granularity)):
                groups[-1].append(piece)
            else:
                groups.append([piece])
        kinds: list[Literal["stem", "block", "stage", "head"]] = [
            "head" if group[-1].kind == "head" else "stem" if group[0] in self.pieces[:stem] else granularity
            for group in groups
        ]
        return [
            Unit(self._name(group), tuple(name for piece in group for name in piece.parameters), kind)
            for group, kind in zip(groups, kinds, strict=True)
        ]

    def below(self, prefix: str) -> tuple[str, ...]:
        """Returns the names of the parameters of a module (or the one of this name)."""
        inside = f"{prefix}." if prefix else ""
        return tuple(name for name in self.names if name.startswith(inside) or name == prefix)

    def _pieces(self, prefix: str, module: nn.Module) -> Iterator[_Piece]:
        if prefix == self.head:
            yield _Piece(prefix, self.below(prefix), "head", type(module))
        elif self._opens(prefix, module):
            for name, _ in module.named_parameters(prefix, recurse=False):
                yield _Piece(name, self.below(name), "layer", nn.Parameter)
            for name, child in module.named_children():
                yield from self._pieces(f"{prefix}.{name}".lstrip("."), child)
        else:
            names = self.below(prefix)
            layer: Literal["norm", "layer"] = "layer" if self._weighted(module) else "norm"
            yield _Piece(prefix, names, layer if self._is_layer(module) else "block", type(module), _falls(module))

    def _opens(self, prefix: str, module: nn.Module) -> bool:
        if prefix == "" or self.head.startswith(f"{prefix}."):
            return True
        if isinstance(module, _CONTAINERS):
            return not self._is_layer(module)
        return any(isinstance(child, _CONTAINERS) and self._repeats(child) for child in module.children())

    def _repeats(self, container: nn.Module) -> bool:
        """Whether a container holds several modules of one class that are no layers."""
        kinds = [type(m) for m in container.children() if any(True for _ in m.parameters())]
        return len(kinds) > 1 and len(set(kinds)) == 1 and not any(map(self._is_layer, container.children()))

    def _is_layer(self, module: nn.Module) -> bool:
        nested = any(isinstance(child, _CONTAINERS) for child in module.children())
        return len(self._weighted(module)) <= 1 and (isinstance(module, _CONTAINERS) or not nested)

    def _weighted(self, module: nn.Module) -> list[nn.Module]:
        """Returns the modules in a module (or itself) that own parameters other than those of a normalisation."""
        return [
            inner
            for inner in module.modules()
            if any(id(parameter) not in self._norms for parameter in inner.parameters(recurse=False))
        ]

    def _head(self) -> str:
        """Returns the name of the classifier with all linear layers around it that are not the whole network."""
        try:
            name = head_of(self.network)
        except UsageError:  # no linear layer, as in SqueezeNet
            last = self._weighted(self.network)[-1:]
            name = next((name for name, module in self.network.named_modules() if [module] == last), "")
        while parent := name.rpartition(".")[0]:
            module = self.network.get_submodule(parent)
            linear = all(isinstance(inner, nn.Linear) for inner in self._weighted(module))
            if not linear or len(self.below(parent)) == len(self.names):
                break
            name = parent
        return name

    def _name(self, group: Sequence[_Piece]) -> str:
        first, last = group[0], group[-1]
        if len(group) == 1:
            return first.name or type(self.network).__name__
        whole = sum(len(piece.parameters) for piece in group)
        if first.container and len(self.below(first.container)) == whole:
            return first.container
        return f"{first.name}..{last.name.removeprefix(f'{first.container}.')}"


def _joins(group: Sequence[_Piece], piece: _Piece, granularity: Granularity) -> bool:
    """Whether a piece belongs to the same unit as those before it (stems aside)."""
    last, bare = group[-1], all(other.kind == "norm" for other in group)
    if piece.kind == "head" or last.kind == "head":
        return bare and piece.kind == "head"
    if piece.kind == "norm":
        return last.kind != "block"
    if bare:
        return piece.kind == "layer"
    if granularity == "block" or piece.falls[0]:
        return False
    if piece.kind == last.kind == "block":
        return (piece.container, piece.type) == (last.container, last.type)
    return "block" not in (piece.kind, last.kind)


def _falls(module: nn.Module) -> tuple[bool, bool]:
    """Returns whether the resolution falls in a module up to its last parameters, and behind them."""
    leaves = [inner for inner in module.modules() if not any(True for _ in inner.children())]
    last = max((i for i, leaf in enumerate(leaves) if any(True for _ in leaf.parameters())), default=-1)
    falling = [index for index, leaf in enumerate(leaves) if _is_strided(leaf)]
    return any(index <= last for index in falling), any(index > last for index in falling)


def _is_strided(leaf: nn.Module) -> bool:
    if not isinstance(leaf, (_ConvNd, _MaxPoolNd, _AvgPoolNd)):
        return False
    stride: Any = leaf.stride  # a number or one for each dimension
    return bool(max(stride) > 1 if isinstance(stride, tuple) else stride > 1)


def _given(tree: _Tree, granularity: Granularity, override: Mapping[str, Sequence[str]]) -> list[Unit]:
    owner: dict[str, str] = {}
    for unit, patterns in override.items():
        for name in select(tree.network, patterns):
            if name in owner:
                raise UsageError(f"units: {name!r} is in both {owner[name]!r} and {unit!r}; name it in one of them")
            owner[name] = unit
    if missing := [name for name in tree.names if name not in owner]:
        raise UsageError(f"units: {missing[0]!r} is in no unit ({len(missing)} such); name all parameters")
    head = owner[tree.below(tree.head)[-1]]
    return [
        Unit(
            unit,
            tuple(name for name in tree.names if owner[name] == unit),
            "head" if unit == head else "stem" if unit == "stem" else granularity,
        )
        for unit in dict.fromkeys(owner[name] for name in tree.names)
    ]


def _split(network: nn.Module, unit: Unit) -> list[Unit]:
    if unit.kind == "head":
        return [unit]
    norms, biases = KINDS["norms"](network), KINDS["biases"](network)
    parts: dict[str, list[str]] = {"weights": [], "norms": [], "biases": []}
    for name in unit.parameters:
        parts["norms" if name in norms else "biases" if name in biases else "weights"].append(name)
    return [Unit(f"{unit.name}/{part}", tuple(names), unit.kind) for part, names in parts.items() if names]
