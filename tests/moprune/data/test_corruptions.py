"""Corruptions against closed forms, SciPy, Pillow and colorsys."""

import colorsys
import io
import pickle
import threading
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage, signal
from sklearn.datasets import load_sample_image

from moprune.data import CORRUPTIONS, GeneratedInputs, TensorInputs, corrupted
from moprune.data.corruption_types import corrupt, disk
from moprune.data.corruptions import parse, table_for
from moprune.errors import UsageError

TABLES = ("cifar", "imagenet")
NOISES = ("gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise")
GREY = sorted(set(CORRUPTIONS) - {"saturate"})


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def photograph():
    """A real picture of 48 x 40 pixels."""
    crop = Image.fromarray(load_sample_image("flower.jpg")).resize((48, 40), Image.Resampling.BILINEAR)
    return np.asarray(crop) / 255


@pytest.fixture(scope="module")
def colours():
    """Every corner of HSV: black, white, greys and pure colours among random ones."""
    random = rng().random((12, 10, 3))
    corners = np.array(np.meshgrid([0, 1], [0, 1], [0, 1])).reshape(3, -1).T
    greys = np.repeat(np.linspace(0, 1, 6), 3).reshape(6, 3)
    random[0, :8], random[1, :6] = corners, greys
    return random


def strength(kind, table, severity):
    return getattr(CORRUPTIONS[kind], table)[severity - 1]


def in_hsv(pixels, change):
    """Changes each pixel's (hue, saturation, value) with the standard library."""
    flat = [colorsys.hsv_to_rgb(*change(*colorsys.rgb_to_hsv(*pixel))) for pixel in pixels.reshape(-1, 3)]
    return np.array(flat).reshape(pixels.shape)


def test_the_strengths_are_the_published_ones():
    """A few of each table, as Hendrycks & Dietterich's scripts have them; every type has five in each."""
    assert all(len(each.cifar) == len(each.imagenet) == 5 for each in CORRUPTIONS.values())
    assert strength("gaussian_noise", "cifar", 3) == 0.08
    assert strength("gaussian_noise", "imagenet", 3) == 0.18
    assert strength("shot_noise", "cifar", 5) == 50
    assert strength("shot_noise", "imagenet", 5) == 3
    assert strength("contrast", "cifar", 5) == 0.15
    assert strength("contrast", "imagenet", 5) == 0.05
    assert strength("jpeg_compression", "cifar", 1) == 80
    assert strength("jpeg_compression", "imagenet", 1) == 25


@pytest.mark.parametrize("severity", [1, 3, 5])
@pytest.mark.parametrize("table", TABLES)
class TestEachType:
    def apply(self, kind, pixels, table, severity, seed=0):
        return corrupt(pixels, kind, severity, table, rng(seed))

    def moments(self, kind, level, table, severity):
        """Mean and deviation of what noise adds to a plain image; 80,000 values."""
        added = self.apply(kind, np.full((200, 200, 2), level), table, severity) - level
        return added.mean(), added.std()

    def test_gaussian_noise_has_its_deviation(self, table, severity):
        c = strength("gaussian_noise", table, severity)
        if c < 0.15:  # else too much of it is clipped
            mean, deviation = self.moments("gaussian_noise", 0.5, table, severity)
            assert mean == pytest.approx(0, abs=4 * c / 282)
            assert deviation == pytest.approx(c, rel=0.02)

    def test_speckle_noise_is_in_proportion(self, table, severity):
        c = strength("speckle_noise", table, severity)
        for level in (0.1, 0.3) if c < 0.25 else ():
            mean, deviation = self.moments("speckle_noise", level, table, severity)
            assert mean == pytest.approx(0, abs=4 * c * level / 282)
            assert deviation == pytest.approx(c * level, rel=0.02)
        assert (self.apply("speckle_noise", np.zeros((5, 5, 3)), table, severity) == 0).all()

    def test_shot_noise_is_poisson(self, table, severity):
        photons = strength("shot_noise", table, severity)
        level = 0.2
        mean, deviation = self.moments("shot_noise", level, table, severity)
        if photons >= 25:
            assert mean == pytest.approx(0, abs=4 * (level / photons) ** 0.5 / 282)
            assert deviation == pytest.approx((level / photons) ** 0.5, rel=0.02)
        counts = self.apply("shot_noise", np.full((40, 40, 3), level), table, severity) * photons
        assert counts == pytest.approx(np.rint(counts), abs=1e-9)

    def test_impulse_noise_sets_its_share_to_black_or_white(self, table, severity):
        c = strength("impulse_noise", table, severity)
        noisy = self.apply("impulse_noise", np.full((200, 200, 2), 0.3), table, severity)
        assert set(np.unique(noisy)) == {0, 0.3, 1}
        assert (noisy != 0.3).mean() == pytest.approx(c, abs=4 * (c / 80_000) ** 0.5)
        assert (noisy == 1).sum() / (noisy != 0.3).sum() == pytest.approx(0.5, abs=2 / (c * 80_000) ** 0.5)

    def test_gaussian_blur_is_scipys_channel_by_channel(self, photograph, table, severity):
        c = strength("gaussian_blur", table, severity)
        expected = [ndimage.gaussian_filter(photograph[..., i], c, mode="nearest") for i in range(3)]
        found = self.apply("gaussian_blur", photograph, table, severity)
        assert found == pytest.approx(np.stack(expected, -1), abs=1e-12)

    def test_defocus_blur_is_a_convolution_of_the_mirrored_image_with_a_disk(self, photograph, table, severity):
        radius, blur = strength("defocus_blur", table, severity)
        kernel = disk(radius, blur)
        half = len(kernel) // 2
        assert kernel.sum() == pytest.approx(1, abs=0.02 if radius >= 8 else 1e-12)
        assert kernel == pytest.approx(kernel.T)
        padded = np.pad(photograph, ((half, half), (half, half), (0, 0)), mode="reflect")
        expected = [signal.fftconvolve(padded[..., i], kernel, mode="valid") for i in range(3)]
        found = self.apply("defocus_blur", photograph, table, severity)
        assert found == pytest.approx(np.stack(expected, -1), abs=1e-9)

    def test_brightness_raises_the_value_of_hsv(self, colours, table, severity):
        c = strength("brightness", table, severity)
        expected = in_hsv(colours, lambda h, s, v: (h, s, min(v + c, 1)))
        assert self.apply("brightness", colours, table, severity) == pytest.approx(expected, abs=1e-12)
        grey = colours[..., :1]
        assert self.apply("brightness", grey, table, severity) == pytest.approx(np.minimum(grey + c, 1))

    def test_saturate_changes_the_saturation_of_hsv(self, colours, table, severity):
        factor, more = strength("saturate", table, severity)
        expected = in_hsv(colours, lambda h, s, v: (h, min(s * factor + more, 1), v))
        assert self.apply("saturate", colours, table, severity) == pytest.approx(expected, abs=1e-12)

    def test_contrast_keeps_the_channels_means_and_scales_the_rest(self, photograph, table, severity):
        found = self.apply("contrast", photograph, table, severity)
        assert found.mean((0, 1)) == pytest.approx(photograph.mean((0, 1)))
        scale = strength("contrast", table, severity)
        assert found.std((0, 1)) == pytest.approx(scale * photograph.std((0, 1)))
        assert np.corrcoef(found[..., 0].ravel(), photograph[..., 0].ravel())[0, 1] == pytest.approx(1)

    @pytest.mark.parametrize("channels", [1, 3])
    def test_jpeg_is_pillows_at_the_quality(self, photograph, table, severity, channels):
        pixels = photograph[..., :channels]
        levels = np.rint(pixels * 255).astype(np.uint8)
        file = io.BytesIO()
        image = Image.fromarray(levels if channels == 3 else levels[..., 0])
        image.save(file, "JPEG", quality=strength("jpeg_compression", table, severity))
        expected = np.asarray(Image.open(file)).reshape(pixels.shape) / 255
        assert (self.apply("jpeg_compression", pixels, table, severity) == expected).all()

    def test_pixelate_leaves_as_many_different_rows_as_small_pixels(self, photograph, table, severity):
        found = self.apply("pixelate", photograph, table, severity)
        scale = strength("pixelate", table, severity)
        assert found.shape == photograph.shape
        if scale <= 0.5:  # where small pixels cover one or more, each row of them is seen as a plateau
            assert len(np.unique(found[..., 0], axis=0)) <= 40
            assert len(np.unique(found.reshape(-1, 3), axis=0)) < 0.8 * 40 * 48
        plain = np.full((7, 9, 3), 51 / 255)
        assert self.apply("pixelate", plain, table, severity) == pytest.approx(plain)


def test_pixelate_at_a_quarter_gives_the_means_of_blocks():
    """The box filters are exact means: severity 5 of ImageNet-C on sides that 4 divides."""
    levels = rng().integers(0, 256, (16, 24, 1))
    blocks = levels.reshape(4, 4, 6, 4).mean((1, 3))
    found = corrupt(levels / 255, "pixelate", 5, "imagenet", rng()) * 255
    assert np.abs(found[..., 0] - np.kron(blocks, np.ones((4, 4)))).max() <= 1


def test_a_small_disk_by_hand():
    """Radius 0.3 holds the centre alone, so the kernel is the Gaussian's three taps by three."""
    kernel = disk(0.3, 0.4)
    side = np.exp(-1 / (2 * 0.4**2))
    taps = np.array([side, 1, side]) / (1 + 2 * side)
    assert kernel[7:10, 7:10] == pytest.approx(np.outer(taps, taps))
    assert np.count_nonzero(kernel) == 9
    assert disk(10, 0.5).shape == (21, 21)


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("kind", sorted(CORRUPTIONS))
def test_severities_lead_away_from_the_image(photograph, kind, table):
    versions = [corrupt(photograph, kind, severity, table, rng()) for severity in range(1, 6)]
    assert all(((each >= 0) & (each <= 1)).all() for each in versions)
    away = [np.abs(each - photograph).mean() for each in versions]
    if kind == "saturate":  # paler in 1 and 2, richer from 3
        assert 0 < away[0] < away[1]
        assert 0 < away[2] < away[3] < away[4]
    else:
        assert (np.diff([0, *away]) > 0).all(), away


def test_imagenets_strengths_are_the_larger_ones(photograph):
    for kind in set(CORRUPTIONS) - {"saturate"}:
        small, large = (corrupt(photograph, kind, 5, table, rng()) for table in TABLES)
        assert np.abs(small - photograph).mean() < np.abs(large - photograph).mean()


def pictures(image, count=4, size=(24, 20), mode="RGB"):
    return GeneratedInputs(partial(image, size=size, mode=mode), range(count))


@pytest.mark.parametrize("kind", sorted(CORRUPTIONS))
def test_images_are_the_same_whenever_and_wherever_they_are_read(image, kind):
    inputs = corrupted(pictures(image), f"{kind}@2", seed=7)
    expected = [np.asarray(inputs[i]) for i in (0, 1, 2, 3)]
    assert [np.asarray(inputs[i]).tobytes() for i in (3, 0)] == [expected[3].tobytes(), expected[0].tobytes()]
    assert np.asarray(inputs.subset([2, 1])[1]).tobytes() == expected[1].tobytes()
    again = pickle.loads(pickle.dumps(inputs))  # noqa: S301
    assert np.asarray(again[1]).tobytes() == expected[1].tobytes()
    read = {}
    threads = [threading.Thread(target=lambda i=i: read.update({i: np.asarray(inputs[i])})) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all((read[i] == expected[i]).all() for i in range(4))
    assert again.digest() == inputs.digest()


@pytest.mark.parametrize("kind", NOISES)
def test_noise_differs_between_images_and_seeds(kind):
    plain = TensorInputs(torch.full((2, 3, 16, 16), 0.5))
    first, second = corrupted(plain, f"{kind}@3")
    other = corrupted(plain, f"{kind}@3", seed=1)[0]
    assert not torch.equal(first, second)
    assert not torch.equal(first, other)


def test_digests_tell_everything_apart(image):
    inputs = pictures(image)
    versions = [
        inputs,
        *(corrupted(inputs, name, seed=seed) for name in ("contrast@1", "contrast@2", "pixelate@1") for seed in (0, 1)),
        corrupted(inputs, "contrast@1", table="imagenet"),
        corrupted(inputs.subset([1, 0, 2, 3]), "contrast@1"),
        corrupted(inputs, "contrast@1").subset([0, 1, 2]),
    ]
    assert len({each.digest() for each in versions}) == len(versions)


@pytest.mark.parametrize("kind", GREY)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.uint8])
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 7, 9)])
def test_tensors_keep_their_form(kind, dtype, shape):
    values = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))
    items = (values * 255).to(dtype) if dtype == torch.uint8 else values.to(dtype)
    found = corrupted(TensorInputs(items), f"{kind}@5")[1]
    assert found.dtype == dtype
    assert found.shape == shape
    assert not torch.equal(found, items[1])


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("kind", GREY)
def test_an_image_and_its_pixels_are_corrupted_alike(image, kind, mode):
    source = pictures(image, mode=mode)
    arrays = [np.asarray(each).reshape(20, 24, -1) for each in source]
    levels = TensorInputs(torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2))
    found = corrupted(source, f"{kind}@4")
    assert found[1].mode == mode
    for picture, tensor in zip(found, corrupted(levels, f"{kind}@4"), strict=True):
        assert (np.asarray(picture).reshape(20, 24, -1) == tensor.permute(1, 2, 0).numpy()).all()


def test_the_table_follows_the_size(image):
    assert table_for(image(0, (64, 64))) == table_for(torch.zeros(3, 64, 20)) == "cifar"
    assert table_for(image(0, (65, 10))) == table_for(torch.zeros(1, 65, 65)) == "imagenet"
    small = pictures(image)
    assert corrupted(small, "contrast@1").digest() == corrupted(small, "contrast@1", table="cifar").digest()
    large = pictures(image, size=(80, 70))
    assert corrupted(large, "contrast@1").digest() == corrupted(large, "contrast@1", table="imagenet").digest()


def test_what_cannot_be_corrupted_is_refused(image):
    colour, grey = pictures(image), pictures(image, mode="L")
    cases = [
        ((colour, "gausian_noise@3"), "did you mean 'gaussian_noise'"),
        ((colour, "fog@3"), "corruption 'fog' is not known"),
        ((colour, "contrast"), "severity from 1 to 5"),
        ((colour, "contrast@6"), "severity from 1 to 5"),
        ((colour, "contrast@03"), "severity from 1 to 5"),
        ((grey, "saturate@1"), "these are grey"),
        ((colour.subset([]), "contrast@1"), "no images"),
    ]
    for arguments, message in cases:
        with pytest.raises(UsageError, match=message):
            corrupted(*arguments)
    with pytest.raises(UsageError, match="table of corruptions 'cifar10' is not known"):
        corrupted(colour, "contrast@1", table="cifar10")
    for items, message in (
        (torch.full((1, 3, 4, 4), 1.5), "values from 1.5 to 1.5"),
        (torch.full((1, 3, 4, 4), float("nan")), "values from nan"),
        (torch.zeros(1, 2, 4, 4), r"shape \(2, 4, 4\)"),
        (torch.zeros(1, 5), r"shape \(5,\)"),
        (torch.zeros(1, 1, 4, 4, dtype=torch.int64), "int64"),
    ):
        with pytest.raises(UsageError, match=message):
            corrupted(TensorInputs(items), "contrast@1", table="cifar")[0]
    assert parse("shot_noise@5") == ("shot_noise", 5)
