"""The way of the published code for heads: the backbone runs again for every candidate, epoch and image.

EvoPruneDeepTL trains each candidate's whole network on images, with the backbone frozen (Poyatos et al. 2023): what a
candidate costs is the backbone's time an image times images times epochs, before anything is learnt.
"""

import torch

from moprune.errors import not_one_of
from moprune.networks import FeatureExtractor, build, digit_images, pretrained_digits
from moprune.seeding import torch_generator

NETWORKS = ("pretrained_digits", "resnet50")
BATCH = 32
"""Images at once, as published."""


class Backbone:
    """A frozen backbone and images for it.

    Args:
        name: one of :data:`NETWORKS`: the network of digits with its images, or a ResNet-50 with random weights, as
            time depends on shapes alone, with four random images of 224 px.
        device: where it runs.

    Raises:
        UsageError: another name.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        if name not in NETWORKS:
            raise not_one_of("published network", name, NETWORKS)
        if name == "resnet50":
            network = build("resnet50").requires_grad_(False).eval()
            images = torch.rand(4, 3, 224, 224, generator=torch_generator(0, "benchmark images"))
        else:
            network, (images, _) = pretrained_digits(), digit_images(range(10), held_out=True)
        self._extractor = FeatureExtractor(network.to(device))
        self._images = images.to(device)
        self.run()

    @property
    def images(self) -> int:
        """How many images the time is taken over."""
        return len(self._images)

    def run(self) -> None:
        """Runs all images once."""
        for batch in self._images.split(BATCH):
            self._extractor(batch)
