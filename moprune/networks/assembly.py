"""Putting a trained head onto a frozen backbone: one ordinary module from images to logits."""

import copy

from torch import Tensor, nn

from moprune.networks.features import FeatureExtractor, head_of


class Assembled(nn.Module):
    """A frozen backbone and a head on its features.

    Args:
        extractor: the backbone with the place its features are taken from.
        head: maps features ``(n, D)`` to logits ``(n, C)``.
    """

    def __init__(self, extractor: FeatureExtractor, head: nn.Module) -> None:
        super().__init__()
        self.backbone = extractor.network
        self.head = head
        self._extractor = extractor

    def forward(self, images: Tensor) -> Tensor:
        """Returns logits ``(n, C)`` of preprocessed images."""
        logits: Tensor = self.head(self._extractor.forward(images))
        return logits


def with_head(extractor: FeatureExtractor, head: nn.Module) -> nn.Module:
    """Returns a copy of the network that ends in ``head``, frozen, on the CPU and in evaluation mode.

    Where the features are the input of the network's own classifier, that classifier is replaced and the result is
    an ordinary network of the same class; otherwise backbone and head are wrapped in :class:`Assembled`.
    """
    copied = copy.deepcopy(extractor.network).cpu().requires_grad_(False)
    if extractor.features is not None:
        again = FeatureExtractor(copied, features=extractor.features, preprocess=extractor.preprocess)
        return Assembled(again, head).eval()
    parent, _, name = head_of(copied).rpartition(".")
    setattr(copied.get_submodule(parent), name, head)
    return copied.eval()
