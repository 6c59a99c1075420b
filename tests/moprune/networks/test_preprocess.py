from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from moprune.errors import UsageError
from moprune.networks import Preprocess, published


def picture(width: int = 97, height: int = 61, mode: str = "RGB") -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


@pytest.mark.parametrize(
    ("arch", "name"),
    [("resnet18", "IMAGENET1K_V1"), ("efficientnet_b0", "DEFAULT"), ("inception_v3", "DEFAULT")],
)
def test_equals_torchvisions_own_preset(arch: str, name: str) -> None:
    weights = published(arch, name)
    ours, theirs = Preprocess.from_weights(weights), weights.transforms()
    assert torch.equal(ours(picture()), theirs(picture()))
    tensor = torch.from_numpy(np.array(picture())).permute(2, 0, 1)
    assert torch.equal(ours(tensor), theirs(tensor))
    assert ours(picture()).shape == (3, ours.crop, ours.crop)


def test_default_changes_only_the_type() -> None:
    pixels = torch.tensor([[[0, 51], [102, 255]]], dtype=torch.uint8)
    torch.testing.assert_close(Preprocess()(pixels), torch.tensor([[[0.0, 0.2], [0.4, 1.0]]]))
    values = torch.tensor([[[-3.0, 700.0]]], dtype=torch.float64)
    assert torch.equal(Preprocess()(values), values.float())
    assert Preprocess()(picture(5, 4)).shape == (3, 4, 5)
    assert Preprocess(mode="L")(picture(5, 4)).shape == (1, 4, 5)


def test_does_not_change_the_image_given() -> None:
    values = torch.ones(3, 2, 2)
    Preprocess(mean=(0.5,), std=(2.0,))(values)
    assert torch.equal(values, torch.ones(3, 2, 2))


def test_repr_is_the_same_for_equal_settings() -> None:
    numbers: Any = [0, np.float64(0.5), 1]
    given = Preprocess(resize=8, mean=numbers, std=[1, 1, 1])  # type: ignore[arg-type]
    plain = Preprocess(resize=8, mean=(0.0, 0.5, 1.0), std=(1.0, 1.0, 1.0))
    assert repr(given) == repr(plain)
    assert eval(repr(plain)) == plain
    assert repr(plain) != repr(Preprocess(resize=9, mean=plain.mean, std=plain.std))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mean": (0.5,), "std": (0.0,)}, "must be positive"),
        ({"mean": (0.5,), "std": (float("nan"),)}, "must be positive"),
        ({"mean": (float("inf"),), "std": (1.0,)}, "not finite"),
        ({"mean": (0.5,)}, "1 means but 0 stds"),
        ({"resize": 0}, "resize is 0"),
        ({"resize": 4, "crop": 5}, "crop 5 is larger"),
        ({"mode": "CMYK"}, "image mode 'CMYK' is not known"),
        ({"interpolation": "biliner"}, "did you mean 'bilinear'"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Preprocess(**settings)


def test_images_that_cannot_be() -> None:
    with pytest.raises(UsageError, match="97 x 61 is smaller than crop 64"):
        Preprocess(crop=64)(picture())
    with pytest.raises(UsageError, match="2 channels but preprocess has 3 means"):
        Preprocess(mean=(0, 0, 0), std=(1, 1, 1))(torch.zeros(2, 4, 4))
    with pytest.raises(UsageError, match=r"shape \(4, 4\)"):
        Preprocess()(torch.zeros(4, 4))
    with pytest.raises(UsageError, match=r"holds torch\.int64"):
        Preprocess()(torch.zeros(1, 4, 4, dtype=torch.int64))


def test_weights_without_classification_preprocessing() -> None:
    with pytest.raises(UsageError, match="no image classification preprocessing"):
        Preprocess.from_weights("IMAGENET1K_V1")
