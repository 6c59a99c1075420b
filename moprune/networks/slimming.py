"""Physical removal: what a pruned head no longer reads is cut out of the backbone's last layers too.

A feature that no head reads comes from an output channel of the backbone's last convolution (several features share a
channel where maps are flattened rather than pooled). Such channels are cut from the convolution and its batch
normalisation; in a residual block the shortcut passes on the remaining channels alone. The result is an ordinary,
smaller module, checked against the original before it is returned.
"""

import copy
import logging

import torch
from torch import Tensor, nn

from moprune.networks.heads import SelectFeatures

logger = logging.getLogger(__name__)

TOLERANCE = 1e-4
"""Largest difference of logits, relative to their largest magnitude, that counts as equal."""


def slim(network: nn.Module, example: Tensor) -> nn.Module:
    """Returns a smaller network equal to a pruned one, or a copy of it where nothing can be cut.

    A structure it does not know (RegNet's blocks, say) is found out by a check on ``example``, and left whole with a
    logged warning.

    Args:
        network: ends in a pruned head, as :func:`moprune.networks.assembly.with_head` returns it, and takes its
            features from a convolution, with or without batch normalisation, activation, pooling and a residual
            connection between.
        example: a batch the network accepts, ``(n, C, H, W)``, by which equality is checked.
    """
    slimmed = copy.deepcopy(network).eval()
    select = _select_of(slimmed)
    last = _last_convolution(slimmed)
    if select is None or last is None:
        return slimmed
    name, convolution = last
    features = _width_before(slimmed, select, example)
    each, rest = divmod(features, convolution.out_channels)
    if rest or convolution.groups != 1:
        return slimmed
    kept = torch.unique(select.indices // each)
    if len(kept) in (0, convolution.out_channels):
        return slimmed
    _cut(slimmed, name, convolution, kept)
    place = torch.full((convolution.out_channels,), -1)
    place[kept] = torch.arange(len(kept))
    select.indices = place[select.indices // each] * each + select.indices % each
    if torch.equal(select.indices, torch.arange(len(kept) * each)):
        _replace(slimmed, select, nn.Identity())
    if not _equal(network, slimmed, example):
        logger.warning(
            "%s: what lies between its last convolution %s and the features is more than slimming knows; the backbone "
            "stays whole",
            type(network).__name__,
            name,
        )
        return copy.deepcopy(network).eval()
    return slimmed


def _select_of(network: nn.Module) -> SelectFeatures | None:
    """Returns the module by which a pruned head picks its features: the last, others may stand in slimmed shortcuts."""
    found = [module for module in network.modules() if isinstance(module, SelectFeatures)]
    return found[-1] if found else None


def _last_convolution(network: nn.Module) -> tuple[str, nn.Conv2d] | None:
    found = [(name, module) for name, module in network.named_modules() if isinstance(module, nn.Conv2d)]
    # The projection of a residual block is registered after its convolutions, but is not what the block ends with.
    ends = [(name, module) for name, module in found if "downsample" not in name and "shortcut" not in name]
    return ends[-1] if ends else None


@torch.no_grad()
def _width_before(network: nn.Module, select: SelectFeatures, example: Tensor) -> int:
    widths: list[int] = []
    hook = select.register_forward_pre_hook(lambda _, arguments: widths.append(arguments[0].shape[1]))
    try:
        network(example)
    finally:
        hook.remove()
    return widths[0]


def _cut(network: nn.Module, name: str, convolution: nn.Conv2d, kept: Tensor) -> None:
    """Cuts output channels of a convolution, of the batch normalisation after it, and of the shortcut beside it."""
    parent_name, _, own = name.rpartition(".")
    parent = network.get_submodule(parent_name)
    _replace(network, convolution, _narrow_convolution(convolution, kept))
    siblings = dict(parent.named_children())
    after = list(siblings)[list(siblings).index(own) + 1 :]
    normalisation = next((siblings[n] for n in after if isinstance(siblings[n], nn.BatchNorm2d)), None)
    if normalisation is not None:
        _replace(network, normalisation, _narrow_normalisation(normalisation, kept))
    for shortcut in ("downsample", "shortcut"):  # as torchvision and moprune call it
        if hasattr(parent, shortcut):
            projection = getattr(parent, shortcut)
            passed = [] if projection is None or isinstance(projection, nn.Identity) else [projection]
            setattr(parent, shortcut, nn.Sequential(*passed, SelectFeatures(kept)))


def _narrow_convolution(old: nn.Conv2d, kept: Tensor) -> nn.Conv2d:
    new = copy.deepcopy(old)
    new.out_channels = len(kept)
    new.weight = nn.Parameter(old.weight.detach()[kept].clone(), requires_grad=False)
    if old.bias is not None:
        new.bias = nn.Parameter(old.bias.detach()[kept].clone(), requires_grad=False)
    return new


def _narrow_normalisation(old: nn.Module, kept: Tensor) -> nn.Module:
    new = copy.deepcopy(old)
    new.num_features = len(kept)  # type: ignore[assignment]
    for name, value in [*old.named_parameters(recurse=False), *old.named_buffers(recurse=False)]:
        if value.ndim == 1:
            cut = value.detach()[kept].clone()
            setattr(new, name, nn.Parameter(cut, requires_grad=False) if isinstance(value, nn.Parameter) else cut)
    return new


def _replace(network: nn.Module, old: nn.Module, new: nn.Module) -> None:
    name = next(name for name, module in network.named_modules() if module is old)
    parent, _, own = name.rpartition(".")
    setattr(network.get_submodule(parent), own, new)


@torch.no_grad()
def _equal(network: nn.Module, slimmed: nn.Module, example: Tensor) -> bool:
    expected = network.eval()(example)
    try:
        found = slimmed(example)
    except RuntimeError:  # shapes that no longer fit: a connection past the convolution that is not a known shortcut
        return False
    return bool((expected - found).abs().max() <= TOLERANCE * expected.abs().max())
