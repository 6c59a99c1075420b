"""What stands for a network where features are given: somebody has run it already."""

from dataclasses import dataclass

from PIL.Image import Image
from torch import Tensor, nn

from moprune.errors import UsageError
from moprune.networks.preprocess import Preprocess


class GivenFeatures(nn.Module):
    """Passes features ``(n, D)`` on as they are; take them from its module ``features``."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Returns ``x``."""
        passed: Tensor = self.features(x)
        return passed


@dataclass(frozen=True)
class AsGiven(Preprocess):
    """Takes a feature vector ``(D,)`` as it is."""

    def __call__(self, image: Image | Tensor) -> Tensor:
        """Returns the vector, float32.

        Raises:
            UsageError: it is something else, such as an image.
        """
        if not isinstance(image, Tensor) or image.ndim != 1:
            raise UsageError("a network that takes features as given was given an image; use data.source features")
        return image.float()
