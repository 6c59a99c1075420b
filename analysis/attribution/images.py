"""Which parts of an image matter: Grad-CAM maps of a class, or of one unit, of a pruned network.

The maps follow the pruned head: of a class they go through the units that were kept and their trained weights, of a
unit through that unit alone.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from moprune.errors import UsageError, not_one_of
from moprune.networks.heads import SelectFeatures
from moprune.networks.modes import device_of

_BATCH = 32


class NoMapsError(UsageError):
    """The network runs no convolution: there is nothing that a map could show."""


@dataclass(frozen=True)
class Maps:
    """Maps of n images.

    Attributes:
        values: at the size of the images, ``(n, H, W)`` float32, >= 0; only the order within an image has a meaning.
        cells: the same at the size of the layer's own grid, ``(n, h, w)``.
        targets: the class or unit each map is of, ``(n,)`` int64.
    """

    values: Tensor
    cells: Tensor
    targets: Tensor


class Explained:
    """A copy of a pruned network made ready for maps.

    Args:
        network: what ``problem.network(genome)`` returns; images to logits, ending in a pruned head.
        layer: the module whose maps are looked at; None for the convolution that runs last.
        images: a preprocessed batch ``(n, C, H, W)`` that finds out what runs, n >= 1.
        device: where to compute; None for where the network is.

    Raises:
        NoMapsError: the network runs no convolution.
        UsageError: the network does not take such images, or ``layer`` is not in it, never runs, or gives no maps.
    """

    def __init__(
        self, network: nn.Module, images: Tensor, *, layer: str | None = None, device: torch.device | None = None
    ) -> None:
        self.network = copy.deepcopy(network).requires_grad_(False).eval()
        for module in self.network.modules():
            if getattr(module, "inplace", False):
                # Else a layer's output is overwritten before its gradient is asked for.
                setattr(module, "inplace", False)  # noqa: B010 - modules have no such attribute for mypy
        self.network.to(device or device_of(self.network))
        self.head = next(
            module
            for module in self.network.modules()
            if isinstance(module, nn.Sequential) and len(module) and isinstance(module[0], SelectFeatures)
        )
        grids = self._grids(images[:1])
        if layer is None:
            names = [name for name in grids if isinstance(self.network.get_submodule(name), nn.Conv2d)]
            if not names:
                raise NoMapsError(f"{_kind(network)} runs no convolution, and maps are made of one's output")
            layer = names[-1]
        elif layer not in dict(self.network.named_modules()):
            raise not_one_of("layer", layer, list(grids))
        elif layer not in grids:
            raise UsageError(
                f"layer {layer!r} gives no maps (n, channels, height, width); these do: {', '.join(list(grids)[-5:])}"
            )
        self.layer = layer
        self.grid = grids[layer]

    def logits(self, images: Tensor) -> Tensor:
        """Returns logits ``(n, C)`` of preprocessed images, on the CPU."""
        with torch.no_grad():
            return torch.cat([self.network(batch.to(self._device)).cpu() for batch in images.split(4 * _BATCH)])

    def classes(self, images: Tensor, targets: Tensor | None = None) -> Maps:
        """Returns the maps of a class for each image, by default the one the network predicts."""
        targets = self.logits(images).argmax(1) if targets is None else targets
        return self._maps(images, targets, self.network)

    def units(self, images: Tensor, layer: int, place: int) -> Maps:
        """Returns the maps of one kept unit.

        Args:
            images: preprocessed, ``(n, C, H, W)``.
            layer: 0 for the features, i for hidden layer i.
            place: the unit's place among the *kept* units of the layer.
        """
        module = self.head[2 * layer]

        def activations(batch: Tensor) -> Tensor:
            seen: list[Tensor] = []
            hook = module.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
            try:
                self.network(batch)
            finally:
                hook.remove()
            return seen[0]

        return self._maps(images, torch.full((len(images),), place), activations)

    @property
    def _device(self) -> torch.device:
        return device_of(self.network)

    def _maps(self, images: Tensor, targets: Tensor, forward: Callable[[Tensor], Tensor]) -> Maps:
        from captum.attr import LayerGradCam

        method: Any = LayerGradCam(forward, self.network.get_submodule(self.layer))
        cells = []
        for batch, target in zip(images.split(_BATCH), targets.split(_BATCH), strict=True):
            inputs = batch.to(self._device).clone().requires_grad_()
            found = method.attribute(inputs, target=target.to(self._device), relu_attributions=True)
            cells.append(found.detach()[:, 0].float().cpu())
        grid = torch.cat(cells)
        return Maps(enlarged(grid, images.shape[-2:]), grid, targets)

    def _grids(self, images: Tensor) -> dict[str, tuple[int, int]]:
        """Returns the modules that give maps, in the order they run, with the maps' height and width."""
        grids: dict[str, tuple[int, int]] = {}
        with _watching(self.network, grids):
            try:
                self.logits(images)
            except RuntimeError as error:
                reason = next(iter(str(error).splitlines()), "")
                raise UsageError(
                    f"{_kind(self.network)} does not take images {tuple(images.shape[1:])} ({reason}); give images "
                    "like those it was made for"
                ) from error
        return grids


def enlarged(cells: Tensor, size: tuple[int, ...]) -> Tensor:
    """Returns maps ``(n, h, w)`` at another size ``(n, H, W)``, bilinear."""
    return functional.interpolate(cells[:, None], size=tuple(size), mode="bilinear", align_corners=False)[:, 0]


@contextmanager
def _watching(network: nn.Module, grids: dict[str, tuple[int, int]]) -> Iterator[None]:
    def watch(name: str) -> Any:
        def note(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor) and output.ndim == 4:
                grids.pop(name, None)  # where a module runs twice, the last time counts
                grids[name] = (output.shape[2], output.shape[3])

        return note

    hooks = [module.register_forward_hook(watch(name)) for name, module in network.named_modules() if name]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _kind(network: nn.Module) -> str:
    return type(getattr(network, "backbone", network)).__name__
