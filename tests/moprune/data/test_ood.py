import pickle
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits, load_sample_image

from moprune.data import POOLS, GeneratedInputs, TensorInputs, digits_pool, jigsaw, noise, photographs, pool
from moprune.errors import UsageError

MAKERS = {"photographs": photographs, "noise": noise, "digits": digits_pool}


def same(first, second):
    return len(first) == len(second) and all(
        np.array_equal(np.asarray(a), np.asarray(b)) for a, b in zip(first, second, strict=True)
    )


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_images_have_the_form_asked_for_and_never_change(name, mode):
    inputs = MAKERS[name](6, 20, mode)
    assert len(inputs) == 6
    assert all(item.mode == mode and item.size == (20, 20) for item in inputs)
    assert len({inputs.item_digest(index) for index in range(6)}) == 6
    assert same(inputs, pickle.loads(pickle.dumps(inputs)))  # noqa: S301
    assert same(inputs.subset([4, 2]), [inputs[4], inputs[2]])
    assert same(inputs, MAKERS[name](9, 20, mode).subset(range(6)))
    if name != "digits":
        assert inputs.digest() != MAKERS[name](6, 20, mode, seed=1).digest()


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.uint8])
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 5, 9)])
def test_tensors_take_the_form_of_another(name, dtype, shape):
    inputs = MAKERS[name](8, like=torch.zeros(shape, dtype=dtype))
    items = torch.stack(list(inputs))
    assert items.shape == (8, *shape)
    assert items.dtype == dtype
    top = 255 if dtype == torch.uint8 else 1
    assert 0 <= items.min() < 0.4 * top
    assert 0.6 * top < items.max() <= top
    pictures = MAKERS[name](8, like=Image.new("L" if shape[0] == 1 else "RGB", (shape[2], shape[1])))
    for item, picture in zip(items, pictures, strict=True):
        expected = np.asarray(picture).reshape(*shape[1:], -1).transpose(2, 0, 1)
        assert np.array_equal(np.rint(item.numpy() * (255 / top)), expected)


def test_photographs_show_the_photographs():
    """A crop of the full height is, up to interpolation, found in a photograph; its colours are theirs."""
    crops = np.stack([np.asarray(item) for item in photographs(200, 16)]).astype(float)
    means = [load_sample_image(name).mean() for name in ("china.jpg", "flower.jpg")]
    assert abs(crops.mean() - np.mean(means)) < 20
    neighbours = np.corrcoef(crops[:, :, 1:].ravel(), crops[:, :, :-1].ravel())[0, 1]
    assert neighbours > 0.5


def test_noise_is_uniform_and_without_structure():
    values = np.stack([np.asarray(item) for item in noise(20, 32)]).astype(float)
    assert abs(values.mean() - 127.5) < 1
    assert abs(values.std() - 73.9) < 1
    assert abs(np.corrcoef(values[:, :, 1:].ravel(), values[:, :, :-1].ravel())[0, 1]) < 0.02


def test_digits_are_the_digits():
    raw = load_digits().images
    exact = torch.stack(list(digits_pool(1797, like=torch.zeros(1, 8, 8))))
    assert np.abs(exact[:, 0].numpy() - raw / 16).max() <= 0.5 / 255 + 1e-6
    with pytest.raises(UsageError, match="1798 digits were asked for and there are 1797"):
        digits_pool(1798)


def numbered_tensors(count, height, width):
    values = torch.arange(count * 3 * height * width).reshape(count, 3, height, width)
    return TensorInputs(values.float())


@pytest.mark.parametrize("size", [(8, 8), (9, 7), (4, 4), (3, 2), (1, 2), (30, 11)])
@pytest.mark.parametrize("grid", [2, 4])
def test_a_jigsaw_moves_whole_patches_and_loses_no_pixel(size, grid):
    source = numbered_tensors(3, *size)
    down, across = (min(grid, side) for side in size)
    high, wide = size[0] // down, size[1] // across
    for item in jigsaw(source, 12, grid):
        original = next(each for each in source if each.min() == item.min())
        assert torch.equal(item.flatten(1).sort().values, original.flatten(1))
        assert not torch.equal(item, original)
        assert torch.equal(item[:, down * high :], original[:, down * high :])
        assert torch.equal(item[:, :, across * wide :], original[:, :, across * wide :])

        def patches(image):
            return Counter(
                tuple(image[:, top : top + high, left : left + wide].flatten().tolist())
                for top in range(0, down * high, high)
                for left in range(0, across * wide, wide)
            )

        assert patches(item) == patches(original)


def test_a_jigsaw_of_images_is_that_of_their_pixels(image):
    pictures = GeneratedInputs(image, range(4))
    tensors = TensorInputs(torch.stack([torch.from_numpy(np.array(item)).permute(2, 0, 1) for item in pictures]))
    for picture, tensor in zip(jigsaw(pictures, 6, seed=3), jigsaw(tensors, 6, seed=3), strict=True):
        assert picture.mode == "RGB"
        assert np.array_equal(np.asarray(picture), tensor.permute(1, 2, 0).numpy())


def test_a_jigsaw_uses_every_image_before_one_again():
    source = numbered_tensors(5, 4, 4)
    pool = jigsaw(source, 10)
    counts = Counter(float(item.min()) for item in pool)
    assert set(counts.values()) == {2}
    assert len({pool.item_digest(index) for index in range(10)}) == 10


def test_what_cannot_be_shuffled_is_refused():
    for grid, inputs in ((1, numbered_tensors(1, 4, 4)), (2, TensorInputs(torch.zeros(0, 3, 4, 4)))):
        with pytest.raises(UsageError, match="no jigsaw"):
            jigsaw(inputs, 1, grid)
    with pytest.raises(UsageError, match="1 x 1 pixels"):
        jigsaw(numbered_tensors(1, 1, 1), 1)[0]
    with pytest.raises(UsageError, match=r"shape \(4,\) have no patches"):
        jigsaw(TensorInputs(torch.zeros(2, 4)), 1)[0]


def test_every_pool_listed_can_be_made_by_name():
    source = numbered_tensors(3, 8, 8)
    for name in POOLS:
        inputs = pool(name, 4, source)
        assert len(inputs) == 4
        assert inputs[3].shape == (3, 8, 8)
    assert len(pool("digits", 5000, source)) == 1797
    with pytest.raises(UsageError, match="'noises' is not known; did you mean 'noise'"):
        pool("noises", 4, source)


@pytest.mark.parametrize("like", [torch.zeros(4), torch.zeros(2, 8, 8), torch.zeros(1, 8, 8, dtype=torch.int64)])
def test_forms_that_no_image_has_are_refused(like):
    with pytest.raises(UsageError, match="no pool can be made like items of shape"):
        noise(3, like=like)


def test_counts_and_sizes_that_make_no_image_are_refused():
    with pytest.raises(UsageError, match="pool of 0 images"):
        noise(0)
    with pytest.raises(UsageError, match="size 0"):
        photographs(1, 0)
