import pickle
import struct

import numpy as np
import pytest

from moprune.data import TORCHVISION, open_torchvision
from moprune.errors import UsageError

datasets = pytest.importorskip("torchvision.datasets")


def write_idx(path, array):
    """The idx format of MNIST: type 8 (unsigned byte), the dimensions, the bytes."""
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    path.write_bytes(head + array.astype(np.uint8).tobytes())


@pytest.fixture
def mnist(tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    arrays = {}
    for part, prefix, count in (("train", "train", 30), ("test", "t10k", 20)):
        images = np.random.default_rng(count).integers(0, 256, (count, 28, 28))
        labels = np.arange(count) % 10
        write_idx(raw / f"{prefix}-images-idx3-ubyte", images)
        write_idx(raw / f"{prefix}-labels-idx1-ubyte", labels)
        arrays[part] = (images, labels)
    return tmp_path, arrays


def test_mnist_from_its_files(mnist):
    root, arrays = mnist
    source = open_torchvision("MNIST", root)
    assert source.classes[3] == "3 - three"
    assert set(source.subsets) == {"train", "test"}
    for part, (images, labels) in arrays.items():
        split = source.subset(part)
        assert split.labels.tolist() == labels.tolist()
        assert all(np.array_equal(item, image) for item, image in zip(split.inputs, images, strict=True))
        assert split.inputs[0].mode == "L"
        assert pickle.loads(pickle.dumps(split)).digest() == split.digest()  # noqa: S301
    assert open_torchvision("MNIST", root, mode="RGB").subset("test").inputs[0].mode == "RGB"


def test_fake_data_needs_no_root_and_leaves_unused_classes_out():
    source = open_torchvision("FakeData", size=12, image_size=(3, 6, 5), num_classes=1000)
    whole = source.subset("all")
    direct = datasets.FakeData(12, (3, 6, 5), 1000)
    assert [source.classes[label] for label in whole.labels] == [str(direct[index][1]) for index in range(12)]
    assert len(source.classes) == len(set(whole.labels.tolist()))
    assert np.array_equal(whole.inputs[7], direct[7][0])


def test_a_data_set_with_named_splits(tmp_path, image):
    """RenderedSST2: its splits are train, val and test, and its labels are in _samples."""
    folder = tmp_path / "rendered-sst2"
    for split, count in (("train", 3), ("valid", 2), ("test", 1)):
        for name in ("negative", "positive"):
            (folder / split / name).mkdir(parents=True)
            for index in range(count):
                image(index).save(folder / split / name / f"{index}.png")
    source = open_torchvision("RenderedSST2", tmp_path)
    assert source.classes == ("negative", "positive")
    assert {name: part.labels.tolist() for name, part in source.subsets.items()} == {
        "train": [0, 0, 0, 1, 1, 1],
        "val": [0, 0, 1, 1],
        "test": [0, 1],
    }


def test_a_data_set_without_subsets(tmp_path, image):
    """EuroSAT: no train, no split."""
    for name in ("Forest", "River"):
        (tmp_path / "eurosat" / "2750" / name).mkdir(parents=True)
        image(1).save(tmp_path / "eurosat" / "2750" / name / "1.jpg")
    source = open_torchvision("EuroSAT", tmp_path)
    assert source.classes == ("Forest", "River")
    assert source.subset("all").labels.tolist() == [0, 1]


def test_options_of_base_classes_are_known(tmp_path):
    """EMNIST hands train and download on to MNIST, takes its own kind of split, and counts letters from 1."""
    raw = tmp_path / "EMNIST" / "raw"
    raw.mkdir(parents=True)
    for part in ("train", "test"):
        write_idx(raw / f"emnist-letters-{part}-images-idx3-ubyte", np.zeros((26, 28, 28)))
        write_idx(raw / f"emnist-letters-{part}-labels-idx1-ubyte", np.arange(1, 27))
    source = open_torchvision("EMNIST", tmp_path, split="letters")
    assert set(source.subsets) == {"train", "test"}
    assert source.classes == tuple("abcdefghijklmnopqrstuvwxyz")
    with pytest.raises(UsageError, match="EMNIST does not accept its options"):
        open_torchvision("EMNIST", tmp_path)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("CIFAR01", {}, "'CIFAR01' is not known; did you mean 'CIFAR1"),
        ("CocoDetection", {}, "not known"),
        ("MNIST", {}, "set root to it"),
        ("FakeData", {"sizes": 3}, "option of FakeData 'sizes' is not known; did you mean 'size'"),
        ("FakeData", {"transform": 3}, "option of FakeData 'transform' is not known"),
    ],
)
def test_requests_that_cannot_be_met(name, arguments, message):
    with pytest.raises(UsageError, match=message):
        open_torchvision(name, **arguments)


@pytest.mark.parametrize("name", [name for name in TORCHVISION if name != "FakeData"])
def test_data_that_are_not_there_are_asked_for(name, tmp_path):
    options = {"split": "letters"} if name == "EMNIST" else {}
    with pytest.raises(UsageError, match=rf"{name}.*(set download: true|by hand|install it with pip)") as caught:
        open_torchvision(name, tmp_path, **options)
    assert "\n" not in str(caught.value)


def test_a_missing_package_is_named(monkeypatch, tmp_path):
    def needs_scipy(self, root, train=True, download=False):
        raise ModuleNotFoundError("No module named 'scipy'")

    monkeypatch.setattr(datasets.MNIST, "__init__", needs_scipy)
    with pytest.raises(UsageError, match=r"MNIST needs a package.*scipy.*install it"):
        open_torchvision("MNIST", tmp_path)
