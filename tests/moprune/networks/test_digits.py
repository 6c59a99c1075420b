from pathlib import Path

import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from moprune.errors import UsageError
from moprune.networks import DigitsNet, FeatureExtractor, digit_images, pretrained_digits
from moprune.networks import digits as module


def test_knows_its_digits_and_helps_with_others(tmp_path: Path) -> None:
    before = torch.random.get_rng_state()
    network = pretrained_digits(folder=tmp_path)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())
    images, labels = digit_images((0, 1, 2, 3, 4), held_out=True)
    assert (network(images).argmax(1) == labels).float().mean() >= 0.98

    features = FeatureExtractor(network)
    images, labels = digit_images((5, 6, 7, 8, 9), held_out=False)
    others, truth = digit_images((5, 6, 7, 8, 9), held_out=True)
    probe = LogisticRegression(max_iter=3000).fit(features(images).numpy(), labels)
    assert features(images).shape[1] == 128
    assert probe.score(features(others).numpy(), truth) >= 0.95


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EPOCHS", 1)


@pytest.mark.usefixtures("quick")
def test_kept_used_again_and_made_again_when_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = pretrained_digits((3, 7), seed=2, folder=tmp_path)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-100])
    again = pretrained_digits((3, 7), seed=2, folder=tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(module, "_train", lambda *_: pytest.fail("trained again"))
        kept = pretrained_digits((3, 7), seed=2, folder=tmp_path)
    for name, value in first.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)
        assert torch.equal(kept.state_dict()[name], value)


@pytest.mark.usefixtures("quick")
def test_another_recipe_is_another_file(tmp_path: Path) -> None:
    for classes, seed in [((1, 2), 0), ((2, 1), 0), ((1, 2), 1)]:
        pretrained_digits(classes, seed=seed, folder=tmp_path)
    assert len(list(tmp_path.iterdir())) == 3


def test_images_held_out_are_no_training_images() -> None:
    parts = [digit_images(range(10), held_out=held_out) for held_out in (False, True)]
    together = torch.cat([images for images, _ in parts])
    assert together.shape == (1797, 1, 8, 8)
    assert together.unique(dim=0).shape[0] == len({image.tobytes() for image in load_digits().images})
    assert together.min() == 0
    assert together.max() == 1
    images, labels = digit_images((4, 9), held_out=True)
    assert len(images) == sum((load_digits().target == digit).sum() // 5 for digit in (4, 9))
    assert labels.unique().tolist() == [0, 1]


def test_wrong_arguments_are_told() -> None:
    for classes in [(1,), (1, 1), (1, 10), ()]:
        with pytest.raises(UsageError, match="two or more different digits"):
            pretrained_digits(classes)
    with pytest.raises(UsageError, match="num_classes 0"):
        DigitsNet(0)
