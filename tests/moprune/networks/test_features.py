import logging
import threading
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from moprune.data.inputs import TensorInputs
from moprune.errors import MopruneError, UsageError
from moprune.files import cache_folder
from moprune.networks import FeatureExtractor, Preprocess, build, cached_features, cifar_resnet, head_of

Counted = list[int]


class Net(nn.Module):
    """Convolution, batch normalisation, dropout, head; counts the images it is given."""

    def __init__(self, classes: int = 3, scale: float = 1.0) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5))
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.fc = nn.Linear(16, classes)
        self.scale = scale
        self.calls: Counted = []
        with torch.no_grad():
            for index, parameter in enumerate(self.parameters()):
                parameter.uniform_(-1, 1, generator=torch.Generator().manual_seed(index))

    def forward(self, x: Tensor) -> Tensor:
        self.calls.append(len(x))
        out: Tensor = self.fc(self.pool(self.body(x) * self.scale).flatten(1))
        return out


def images(count: int = 13, size: int = 8) -> TensorInputs:
    return TensorInputs(torch.rand(count, 1, size, size, generator=torch.Generator().manual_seed(1)))


@pytest.mark.parametrize(
    ("arch", "name"),
    [
        ("resnet18", "fc"),
        ("mobilenet_v2", "classifier.1"),
        ("mobilenet_v3_small", "classifier.3"),
        ("densenet121", "classifier"),
        ("shufflenet_v2_x0_5", "fc"),
        ("cifar_resnet20", "linear"),
    ],
)
def test_features_are_the_network_with_its_head_replaced(arch: str, name: str) -> None:
    network = build(arch, num_classes=3)
    assert head_of(network) == name
    batch = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    features = FeatureExtractor(network)(batch)
    network.eval().set_submodule(name, nn.Identity())
    with torch.no_grad():
        torch.testing.assert_close(features, network(batch), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("arch", "name"),
    [("vit_b_16", "heads.head"), ("swin_t", "head"), ("googlenet", "fc"), ("vgg11", "classifier.6")],
)
def test_heads_of_larger_networks(arch: str, name: str) -> None:
    import torchvision.models

    options = {"aux_logits": True, "init_weights": True} if arch == "googlenet" else {}
    with torch.device("meta"):  # the names are enough: no memory, no initial weights
        assert head_of(torchvision.models.get_model(arch, weights=None, **options)) == name


def test_networks_without_a_linear_head() -> None:
    network = build("squeezenet1_1", num_classes=3)
    with pytest.raises(UsageError, match="features=NAME"):
        FeatureExtractor(network)
    features = FeatureExtractor(network, features="features")(torch.rand(2, 3, 40, 40))
    assert features.shape == (2, 512)


def test_maps_are_averaged_and_other_outputs_flattened() -> None:
    network = Net().eval()
    batch = images(4).tensor
    with torch.no_grad():
        maps = network.body(batch)
    torch.testing.assert_close(FeatureExtractor(network, features="body")(batch), maps.mean((2, 3)))
    torch.testing.assert_close(FeatureExtractor(network)(batch), nn.functional.adaptive_avg_pool2d(maps, 2).flatten(1))


def test_what_lies_behind_the_features_may_have_any_size() -> None:
    network = cifar_resnet(20)
    network.linear = nn.Linear(999, 2)
    assert FeatureExtractor(network)(torch.zeros(2, 3, 16, 16)).shape == (2, 64)


def test_the_network_is_left_as_it_was() -> None:
    network = Net().train()
    network.body[1].eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    FeatureExtractor(network).extract(images(), device="cpu")
    assert network.training
    assert network.body[3].training
    assert not network.body[1].training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in network.parameters())
    assert network(images().tensor).shape == (13, 3)  # no hook is left behind


def test_features_can_be_trained_on() -> None:
    """Tensors of torch.inference_mode could not."""
    features = FeatureExtractor(Net()).extract(images(), device="cpu")
    head = nn.Linear(16, 2)
    head(features).sum().backward()
    assert head.weight.grad is not None


@pytest.mark.parametrize("batch_size", [1, 2, 5, 13, 64])
def test_result_does_not_depend_on_the_batch_size(batch_size: int) -> None:
    extractor = FeatureExtractor(Net())
    seen: list[tuple[int, int]] = []
    features = extractor.extract(images(), device="cpu", batch_size=batch_size, progress=lambda *at: seen.append(at))
    torch.testing.assert_close(features, extractor(images().tensor), rtol=1e-5, atol=1e-6)
    assert seen[-1] == (13, 13)
    assert len(seen) == -(-13 // batch_size)


def test_images_are_preprocessed_in_other_threads() -> None:
    class Pictures(TensorInputs):
        threads: set[str] = set()  # noqa: RUF012

        def __getitem__(self, index: int, /) -> Image.Image:  # type: ignore[override]
            self.threads.add(threading.current_thread().name)
            return Image.new("L", (10 + index, 9), index)

    preprocess = Preprocess(resize=8, crop=8, mode="L", mean=(0.5,), std=(0.25,))
    inputs = Pictures(torch.zeros(5, 1))
    network = Net()
    features = FeatureExtractor(network, preprocess=preprocess).extract(inputs, device="cpu", batch_size=2)
    batch = torch.stack([preprocess(inputs[i]) for i in range(5)])
    torch.testing.assert_close(features, FeatureExtractor(network)(batch))
    assert any(name.startswith("moprune-images") for name in inputs.threads)


def test_half_precision_networks_give_float32() -> None:
    features = FeatureExtractor(Net().to(torch.bfloat16)).extract(images(), device="cpu")
    assert features.dtype == torch.float32


def test_features_that_are_not_finite_name_the_first_image() -> None:
    inputs = images()
    inputs.tensor[9, 0, 4, 4] = float("nan")
    inputs.tensor[11] = float("inf")
    with pytest.raises(UsageError, match="features of image 9 are not finite; check that image"):
        FeatureExtractor(Net()).extract(inputs, device="cpu", batch_size=4)


class Full(Net):
    """Stands for a device whose memory holds ``room`` images."""

    room = 3

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().forward(x)


def test_out_of_memory_halves_the_batch() -> None:
    network = Full()
    features = FeatureExtractor(network).extract(images(), device="cpu", batch_size=8)
    torch.testing.assert_close(features, FeatureExtractor(Net())(images().tensor), rtol=1e-5, atol=1e-6)
    assert network.calls == [2, 2, 2, 2, 2, 2, 1]
    network.room = 0
    with pytest.raises(MopruneError, match="one image does not fit"):
        FeatureExtractor(network).extract(images(), device="cpu")


def test_mistakes_are_told() -> None:
    network = Net()
    network.unused = nn.ReLU()
    with pytest.raises(UsageError, match="has no module 'layer4'"):
        FeatureExtractor(network, features="layer4")
    with pytest.raises(UsageError, match="has no module ''"):
        FeatureExtractor(network, features="")
    with pytest.raises(UsageError, match="never runs 'unused'"):
        FeatureExtractor(network, features="unused")(images().tensor)
    extractor = FeatureExtractor(network)
    with pytest.raises(UsageError, match=r"fails on images \(2, 3, 8, 8\)"):
        extractor(torch.zeros(2, 3, 8, 8))
    with pytest.raises(UsageError, match="there are no images"):
        extractor.extract(TensorInputs(torch.zeros(0, 1, 8, 8)), device="cpu")
    with pytest.raises(UsageError, match="batch_size is 0"):
        extractor.extract(images(), device="cpu", batch_size=0)


def test_images_of_different_sizes_are_told() -> None:
    class Uneven(TensorInputs):
        def __getitem__(self, index: int, /) -> Tensor:
            return torch.zeros(1, 8, 8 + index % 2)

    with pytest.raises(UsageError, match=r"different sizes, \(1, 8, 8\) and \(1, 8, 9\)"):
        FeatureExtractor(Net()).extract(Uneven(torch.zeros(4, 1)), device="cpu")


def test_digest_covers_all_that_decides_the_features() -> None:
    def changed_buffer() -> Net:
        network = Net()
        network.body[1].running_mean[0] = 1
        return network

    def hidden_buffer() -> Net:
        network = Net()
        network.register_buffer("hidden", torch.ones(1), persistent=False)
        return network

    class Other(Net):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x + 1)

    same = [FeatureExtractor(Net()), FeatureExtractor(Net().eval().requires_grad_(False))]
    others = [
        FeatureExtractor(changed_buffer()),
        FeatureExtractor(hidden_buffer()),
        FeatureExtractor(Other()),
        FeatureExtractor(Net(scale=2.0)),
        FeatureExtractor(Net(), features="body"),
        FeatureExtractor(Net(), features="fc"),
        FeatureExtractor(Net(), preprocess=Preprocess(crop=7)),
    ]
    assert len({extractor.digest() for extractor in same}) == 1
    assert len({extractor.digest() for extractor in [*same, *others]}) == 1 + len(others)


def test_kept_features_do_not_run_the_network_again(tmp_path: Path) -> None:
    extractor, again = FeatureExtractor(Net()), FeatureExtractor(network := Net())
    first = cached_features(extractor, images(), device="cpu", folder=tmp_path)
    second = cached_features(again, images(), device="cpu", folder=tmp_path)
    assert torch.equal(first, second)
    assert network.calls == []
    cached_features(again, images(12), device="cpu", folder=tmp_path)  # other images, another file
    assert network.calls == [12]
    assert len(list(tmp_path.iterdir())) == 2


def test_kept_in_the_users_cache_folder() -> None:
    cached_features(FeatureExtractor(Net()), images(), device="cpu")
    assert [path.suffix for path in (cache_folder() / "features").iterdir()] == [".safetensors"]


@pytest.mark.parametrize("damage", ["cut", "empty", "flipped", "other"])
def test_damaged_files_are_made_again(tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str) -> None:
    extractor = FeatureExtractor(network := Net())
    first = cached_features(extractor, images(), device="cpu", folder=tmp_path)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    flipped = whole[:-3] + bytes([whole[-3] ^ 1]) + whole[-2:]
    path.write_bytes({"cut": whole[:-7], "empty": b"", "flipped": flipped, "other": b"x" * 99}[damage])
    network.calls.clear()
    assert torch.equal(cached_features(extractor, images(), device="cpu", folder=tmp_path), first)
    assert network.calls == [13]
    assert "made again" in caplog.text
    assert path.read_bytes() == whole


def test_a_folder_that_cannot_be_written_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("in the way")
    features = cached_features(FeatureExtractor(Net()), images(), device="cpu", folder=tmp_path / "file" / "f")
    assert features.shape == (13, 16)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "not kept" in caplog.text


def test_a_full_disk_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    features = cached_features(FeatureExtractor(Net()), images(), device="cpu", folder=tmp_path)
    assert features.shape == (13, 16)
    assert "No space left" in caplog.text
    assert list(tmp_path.iterdir()) == []
