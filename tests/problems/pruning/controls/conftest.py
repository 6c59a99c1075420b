"""A small task that all controls are tried on."""

import pytest
import torch

from moprune.networks.heads import HeadSpec
from moprune.population import Training, TrainingSet
from problems.pruning.controls import Setting
from problems.pruning.encodings import Encoding


@pytest.fixture
def data():
    """Three classes, ten features of which the first four tell something and the last is constant."""
    generator = torch.Generator().manual_seed(3)
    labels = torch.arange(60) % 3
    features = torch.randn(60, 10, generator=generator) * torch.linspace(0.5, 3, 10)
    features[:, :4] += 1.5 * torch.randn(3, 4, generator=generator)[labels]
    features[:, 9] = 0.3
    return TrainingSet(features, labels)


@pytest.fixture
def make_setting(data):
    def make(encoding="features", hidden=(8,), sizes=(1, 3, 10), epochs=4, **options):
        spec = HeadSpec(10, hidden, 3, **options)
        training = Training(epochs=epochs, batch_size=20, learning_rate=0.05)
        return Setting(Encoding.of(encoding, spec), data, training, 7, sizes)

    return make
