"""Networks: getting one, preparing images for it, and what it sees in them and costs.

Getting one
    `pretrained`: a network by name with published weights, or those of a file; frozen.
    `pretrained_digits`, `DigitsNet`: a small one trained on the spot, for trying things out.
    `pretrained_text`, `LSTMClassifier`: likewise for texts.
    `build`, `cifar_resnet`: a network with random initial weights.
    `load_weights`: a file of weights into any network.
    `published`: torchvision's description of published weights.

Images to features
    `Preprocess`: an image to the tensor the network expects; `Tokens` for texts.
    `FeatureExtractor`: images to the numbers that reach the classifier; `cached_features` keeps them on disk.
    `head_of`: the name of the classifier.

Weights
    `select`, `state_of`, `norm_statistics`: tensors by name, and their values, a `State`.
    `Suffix`: the part of a network that some tensors can change anything in.
    `units`: stem, blocks or stages, head of any network, each a `Unit` with the names of its parameters.
    `save_delta`, `apply_delta`: what differs from a pre-trained network, as a file; `Factors`, `merged`: at low rank.

Costs
    `parameters`, `flops`, `latency`; `SlimmedCosts` of pruned networks without building them.
    `tuning_costs`: of training some tensors, and of storing them.

Nothing here unpickles a file or changes the global random state.
"""

from moprune.networks.cifar_resnet import cifar_resnet
from moprune.networks.costs import SlimmedCosts, flops, latency, parameters
from moprune.networks.delta import apply_delta, save_delta
from moprune.networks.digits import DigitsNet, digit_images, pretrained_digits
from moprune.networks.feature_cache import cached_features
from moprune.networks.features import FeatureExtractor, head_of
from moprune.networks.loading import build, pretrained, published
from moprune.networks.low_rank import Factors, factor_shapes, merged
from moprune.networks.lstm import LSTMClassifier, Tokens
from moprune.networks.preprocess import Preprocess
from moprune.networks.selection import State, norm_statistics, select, state_of
from moprune.networks.suffix import Suffix
from moprune.networks.text import pretrained_text
from moprune.networks.tuning_costs import TuningCosts, tuning_costs
from moprune.networks.units import Unit, units
from moprune.networks.weights import load_weights, read_weights

__all__ = [
    "DigitsNet",
    "Factors",
    "FeatureExtractor",
    "LSTMClassifier",
    "Preprocess",
    "SlimmedCosts",
    "State",
    "Suffix",
    "Tokens",
    "TuningCosts",
    "Unit",
    "apply_delta",
    "build",
    "cached_features",
    "cifar_resnet",
    "digit_images",
    "factor_shapes",
    "flops",
    "head_of",
    "latency",
    "load_weights",
    "merged",
    "norm_statistics",
    "parameters",
    "pretrained",
    "pretrained_digits",
    "pretrained_text",
    "published",
    "read_weights",
    "save_delta",
    "select",
    "state_of",
    "tuning_costs",
    "units",
]
