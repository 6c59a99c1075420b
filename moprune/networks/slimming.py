"""Physical removal: what a pruned head no longer reads is cut out of the backbone's last layer too.

Features come from the output channels of the backbone's last convolution or fully connected layer, several from one
channel where maps are flattened rather than pooled. A channel none of whose features the head reads is cut from that
layer and its batch normalisation; in a residual block the shortcut passes on the remaining channels alone. The result
is an ordinary, smaller module, checked against the original before it is returned.
"""

import copy
import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from moprune.errors import UsageError
from moprune.networks.heads import SelectFeatures
from moprune.networks.modes import evaluating

logger = logging.getLogger(__name__)

Layer = nn.Conv2d | nn.Linear

TOLERANCE = 1e-4
"""Largest difference of logits, relative to their largest magnitude, that counts as equal."""


@dataclass(frozen=True)
class FeatureSource:
    """The layer that a pruned head's features come from.

    Attributes:
        name: of the layer in the network.
        layer: a convolution or fully connected layer.
        select: the module that picks the features which the head reads.
        picked: its name.
        channels: outputs of the layer.
        each: features that come from one channel.
    """

    name: str
    layer: Layer
    select: SelectFeatures
    picked: str
    channels: int
    each: int

    def read(self) -> Tensor:
        """Returns the channels, ascending, some feature of which is read; the first where no feature is read at all."""
        if not len(self.select.indices):  # a layer without outputs would not run
            return torch.tensor([0])
        channels: Tensor = torch.unique(self.select.indices // self.each)
        return channels


def slim(network: nn.Module, example: Tensor) -> nn.Module:
    """Returns a smaller network equal to a pruned one, or a copy of it where nothing can be cut.

    A structure it does not know (RegNet's blocks, say) is found out by a check on ``example``, and left whole with a
    logged warning.

    Args:
        network: ends in a pruned head, as :func:`moprune.networks.assembly.with_head` returns it, and takes its
            features from a convolution or fully connected layer, with or without batch normalisation, activation,
            pooling and a residual connection between.
        example: a batch the network accepts, ``(n, C, H, W)``, by which equality is checked.
    """
    slimmed = copy.deepcopy(network).eval()
    source = feature_source(slimmed, example)
    if source is None:
        return slimmed
    kept = source.read()
    if len(kept) == source.channels:
        return slimmed
    _cut(slimmed, source, kept)
    _renumber(slimmed, source, kept)
    if not _equal(network, slimmed, source, kept, example):
        logger.warning(
            "%s: what lies between its layer %s and the features is more than slimming knows; the backbone stays whole",
            type(network).__name__,
            source.name,
        )
        return copy.deepcopy(network).eval()
    return slimmed


@torch.no_grad()
def feature_source(network: nn.Module, example: Tensor) -> FeatureSource | None:
    """Returns the layer a pruned head's features come from, as a run on ``example`` shows; None if there is none.

    It is the last convolution or fully connected layer that runs before the features are picked, and has to have as
    many outputs as there are features, or one for every few of them.
    """
    picking = [(name, module) for name, module in network.named_modules() if isinstance(module, SelectFeatures)]
    if not picking:
        return None
    picked, select = picking[-1]  # others may stand in slimmed shortcuts
    # The projection of a residual block runs after its convolutions, but is not what the block ends with.
    layers = {
        module: name
        for name, module in network.named_modules()
        if isinstance(module, Layer) and "downsample" not in name and "shortcut" not in name
    }
    ran, features = _run_before(network, select, list(layers), example)
    if not ran or (isinstance(ran[-1], nn.Conv2d) and ran[-1].groups != 1):
        return None
    channels = int(ran[-1].weight.shape[0])
    each, rest = divmod(features, channels)
    return None if rest else FeatureSource(layers[ran[-1]], ran[-1], select, picked, channels, each)


def _run_before(
    network: nn.Module, select: SelectFeatures, layers: Sequence[Layer], example: Tensor
) -> tuple[list[Layer], int]:
    """Returns the layers in the order in which they run before ``select``, and the width of what reaches it."""
    ran: list[Layer] = []
    reached: list[tuple[int, int]] = []
    hooks = [layer.register_forward_pre_hook(lambda module, _: ran.append(module)) for layer in layers]
    hooks.append(select.register_forward_pre_hook(lambda _, inputs: reached.append((len(ran), inputs[0].shape[1]))))
    try:
        with evaluating(network):
            network(example)
    finally:
        for hook in hooks:
            hook.remove()
    count, features = reached[0]
    return ran[:count], features


def _cut(network: nn.Module, source: FeatureSource, kept: Tensor) -> None:
    """Cuts output channels of a layer, of the batch normalisation after it, and of the shortcut beside it."""
    parent_name, _, own = source.name.rpartition(".")
    parent = network.get_submodule(parent_name)
    siblings = dict(parent.named_children())
    _narrow(source.layer, kept)
    after = list(siblings)[list(siblings).index(own) + 1 :]
    for normalisation in [siblings[n] for n in after if isinstance(siblings[n], nn.BatchNorm1d | nn.BatchNorm2d)][:1]:
        _narrow(normalisation, kept)
    for shortcut in ("downsample", "shortcut"):  # as torchvision and moprune call it
        if hasattr(parent, shortcut):
            projection = getattr(parent, shortcut)
            passed = [] if projection is None or isinstance(projection, nn.Identity) else [projection]
            setattr(parent, shortcut, nn.Sequential(*passed, SelectFeatures(kept)))


def _narrow(module: nn.Module, kept: Tensor) -> None:
    """Leaves a layer or normalisation the kept outputs alone; in place, since others may refer to it."""
    for width in ("out_channels", "out_features", "num_features"):
        if hasattr(module, width):
            setattr(module, width, len(kept))
    for name, value in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
        if value.ndim:  # the outputs come first; a count of batches stays
            cut = value.detach()[kept].clone()
            setattr(module, name, nn.Parameter(cut, requires_grad=False) if isinstance(value, nn.Parameter) else cut)


def _renumber(network: nn.Module, source: FeatureSource, kept: Tensor) -> None:
    """Lets the head pick its features among those of the kept channels, or all of them if it reads all."""
    select, each = source.select, source.each
    place = torch.full((source.channels,), -1)
    place[kept] = torch.arange(len(kept))
    select.indices = place[select.indices // each] * each + select.indices % each
    if torch.equal(select.indices, torch.arange(len(kept) * each)):
        parent, _, own = source.picked.rpartition(".")
        setattr(network.get_submodule(parent), own, nn.Identity())


def _equal(network: nn.Module, slimmed: nn.Module, source: FeatureSource, kept: Tensor, example: Tensor) -> bool:
    """Whether the kept channels' features are the same, and the logits; a head may hide that features are not."""
    features, expected = _features_and_logits(network, source.picked, example)
    try:
        found, logits = _features_and_logits(slimmed, source.picked, example)
    except (RuntimeError, UsageError):  # shapes that no longer fit: a connection past the layer that is not known
        return False
    of_kept = features.unflatten(1, (source.channels, source.each))[:, kept].flatten(1)
    return _close(of_kept, found, features) and _close(expected, logits, expected)


def _close(expected: Tensor, found: Tensor, scale: Tensor) -> bool:
    if expected.shape != found.shape:
        return False
    # The logits of a head whose training diverged are not finite, and equal all the same.
    largest = float(scale.abs().nan_to_num(0, posinf=0).max())
    return torch.allclose(expected, found, rtol=0, atol=TOLERANCE * largest, equal_nan=True)


@torch.no_grad()
def _features_and_logits(network: nn.Module, picked: str, example: Tensor) -> tuple[Tensor, Tensor]:
    """Returns what reaches the module of that name, ``(n, D)``, and the logits."""
    reached: list[Tensor] = []
    hook = network.get_submodule(picked).register_forward_pre_hook(lambda _, inputs: reached.append(inputs[0]))
    try:
        with evaluating(network):
            logits: Tensor = network(example)
    finally:
        hook.remove()
    return reached[-1], logits
