import io
import pickle
import shutil
import tarfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image

from moprune.data import DatasetInputs, GeneratedInputs, ImageFiles, JoinedInputs, TarImages, TensorInputs
from moprune.errors import UsageError


def names_below(root):
    return tuple(sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()))


def pixels(item):
    return np.asarray(item)


class Squares:
    """A map-style data set as torchvision's are."""

    def __len__(self):
        return 10

    def __getitem__(self, index):
        return torch.full((1, 2, 2), float(index**2)), index % 2


def double(number):
    return torch.tensor([2.0 * number])


@pytest.fixture
def every_kind(image_folder):
    root = image_folder({"a": 3, "b": 3})
    names = names_below(root)
    tar = root.parent / "images.tar"
    with tarfile.open(tar, "w") as archive:
        archive.add(root, arcname=".")
    files = ImageFiles(root, names)
    return {
        "tensor": TensorInputs(torch.arange(12.0).reshape(6, 2)),
        "files": files,
        "tar": TarImages(tar, names),
        "dataset": DatasetInputs(Squares(), range(6)),
        "generated": GeneratedInputs(double, range(6)),
        "joined": JoinedInputs((files.subset([0, 1, 2]), files.subset([3, 4, 5]))),
    }


KINDS = ["tensor", "files", "tar", "dataset", "generated", "joined"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_keeps_the_contract(every_kind, kind):
    inputs = every_kind[kind]
    assert len(inputs) == 6
    part = inputs.subset([4, 1, 5, 1])
    assert len(part) == 4
    for position, index in enumerate([4, 1, 5, 1]):
        assert np.array_equal(pixels(part[position]), pixels(inputs[index]))
        assert part.item_digest(position) == inputs.item_digest(index)
    assert np.array_equal(pixels(inputs[-1]), pixels(inputs[5]))
    with pytest.raises(IndexError):
        inputs[6]
    assert inputs.subset([]).digest() == every_kind["tensor"].subset([]).digest()
    assert inputs.digest() != part.digest()
    assert inputs.subset(range(6)).digest() == inputs.digest()
    again = pickle.loads(pickle.dumps(inputs))  # noqa: S301
    assert again.digest() == inputs.digest()
    assert np.array_equal(pixels(again[2]), pixels(inputs[2]))


@pytest.mark.parametrize("kind", KINDS)
def test_several_threads_read_the_same_items(every_kind, kind):
    inputs = every_kind[kind]
    alone = [pixels(inputs[index]) for index in range(6)]
    order = list(range(6)) * 20
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(lambda index: pixels(inputs[index]), order))
    assert all(np.array_equal(read, alone[index]) for index, read in zip(order, together, strict=True))


def test_a_folder_and_a_tar_of_it_have_the_same_items_and_digest(every_kind):
    files, tar = every_kind["files"], every_kind["tar"]
    assert [pixels(item).tolist() for item in files] == [pixels(item).tolist() for item in tar]
    assert files.digest() == tar.digest() == every_kind["joined"].digest()


def test_the_digest_is_of_the_content_not_of_the_place(image_folder, tmp_path, image):
    root = image_folder({"a": 4})
    names = names_below(root)
    before = ImageFiles(root, names).digest()
    moved = shutil.copytree(root, tmp_path / "elsewhere")
    assert ImageFiles(moved, names).digest() == before
    assert ImageFiles(moved, names, "L").digest() != before
    assert ImageFiles(moved, names[::-1]).digest() != before
    image(99).save(moved / names[0])
    assert ImageFiles(moved, names).digest() != before


def test_tensor_digests_tell_values_types_and_shapes_apart():
    zeros = torch.zeros(2, 4)
    different = [
        zeros,
        zeros + 1,
        zeros.half(),
        zeros.bfloat16(),
        zeros.reshape(2, 2, 2),
        zeros.to(torch.uint8),
    ]
    assert len({TensorInputs(each).digest() for each in different}) == len(different)
    assert TensorInputs(zeros.T).digest() == TensorInputs(zeros.T.contiguous()).digest()


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_png_values_are_exact_and_any_mode_is_converted(tmp_path, mode, image):
    kinds = {"RGB": image(1), "L": image(2, mode="L"), "RGBA": image(3).convert("RGBA")}
    kinds["P"] = image(4).quantize(8)
    kinds["1"] = image(5).convert("1")
    for name, picture in kinds.items():
        extra = {"transparency": bytes([0, 128, 255])} if name == "P" else {}
        picture.save(tmp_path / f"{name}.png", **extra)
    names = tuple(f"{name}.png" for name in kinds)
    items = list(ImageFiles(tmp_path, names, mode))
    assert {item.mode for item in items} == {mode}
    for item, picture in zip(items, kinds.values(), strict=True):
        assert np.array_equal(pixels(item), pixels(picture.convert(mode)))


def test_sixteen_bit_images_are_scaled_not_clipped(tmp_path):
    values = np.array([[0, 256 * 10], [256 * 128, 65535]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "x.png")
    item = ImageFiles(tmp_path, ("x.png",), "L")[0]
    assert np.abs(pixels(item).astype(int) - values // 256).max() <= 1


def damaged(kind, image):
    good = io.BytesIO()
    image(1, size=(64, 64)).save(good, "png" if kind == "png" else "jpeg")
    data = good.getvalue()
    return {"empty": b"", "text": b"no image at all"}.get(kind, data[: len(data) // 2])


@pytest.mark.parametrize(
    ("kind", "why"),
    [("jpeg", "truncated"), ("png", ""), ("empty", "the file is empty"), ("text", "not an image")],
)
def test_a_damaged_image_is_named(tmp_path, kind, why, image):
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "7.jpg").write_bytes(damaged(kind, image))
    with pytest.raises(UsageError) as caught:
        ImageFiles(tmp_path, ("cat/7.jpg",))[0]
    message = str(caught.value)
    assert message.startswith(f"cannot read image {tmp_path / 'cat' / '7.jpg'}: {why}")
    assert message.endswith("; remove or replace it")
    assert "\n" not in message
    tar = tmp_path / "x.tar"
    with tarfile.open(tar, "w") as archive:
        archive.add(tmp_path / "cat" / "7.jpg", "cat/7.jpg")
    with pytest.raises(UsageError, match=r"cat/7\.jpg in .*x\.tar"):
        TarImages(tar, ("cat/7.jpg",))[0]


@pytest.mark.parametrize("limit", [100, 40])
def test_an_image_of_too_many_pixels_is_refused(tmp_path, monkeypatch, limit, image):
    # Below twice the limit Pillow itself only warns.
    image(1, size=(13, 11)).save(tmp_path / "big.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(UsageError, match=rf"big.png: more than the {limit} pixels"):
        ImageFiles(tmp_path, ("big.png",))[0]


def test_a_file_that_went_away_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"gone\.png: No such file"):
        ImageFiles(tmp_path, ("gone.png",))[0]


def test_a_tar_that_became_shorter_is_named(every_kind):
    tar = every_kind["tar"]
    tar.path.write_bytes(tar.path.read_bytes()[:600])
    with pytest.raises(UsageError, match="the tar became shorter"):
        tar[5]


def test_an_unknown_tar_member_is_named(every_kind):
    with pytest.raises(UsageError, match=r"no member 'a/9\.png'"):
        TarImages(every_kind["tar"].path, ("a/9.png",))


def test_inputs_without_items_are_refused():
    with pytest.raises(UsageError, match=r"shape \(3,\)"):
        TensorInputs(torch.zeros(3))


def test_items_of_other_kinds_and_failures_of_a_dataset_are_named():
    with pytest.raises(UsageError, match="item 0 of data set list is a str"):
        DatasetInputs([("text", 0)], range(1))[0]
    with pytest.raises(UsageError, match="cannot read image 5 of data set list"):
        DatasetInputs([("text", 0)], [5])[0]


def test_reading_a_dataset_leaves_the_global_generator_alone_in_threads():
    datasets = pytest.importorskip("torchvision.datasets")
    inputs = DatasetInputs(datasets.FakeData(size=20, image_size=(3, 8, 8)), range(20))
    alone = [pixels(inputs[index]) for index in range(20)]
    state = torch.get_rng_state()
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(lambda index: pixels(inputs[index]), range(20)))
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(alone, together)
