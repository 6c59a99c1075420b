import os
import sys
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from moprune.errors import UsageError
from moprune.networks import build, cifar_resnet, pretrained, published


def put_published(arch: str, name: str, state: dict[str, Tensor]) -> None:
    """Places a file where torch.hub keeps published weights, so that it is found there and not fetched."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / published(arch, name).url.rpartition("/")[2]
    path.parent.mkdir(parents=True)
    torch.save(state, path)


def test_build_by_name() -> None:
    before = torch.random.get_rng_state()
    assert build("cifar_resnet20", num_classes=3)(torch.zeros(2, 3, 32, 32)).shape == (2, 3)
    network = build("mobilenet_v2", num_classes=4, in_channels=1, seed=5).eval()
    assert network(torch.zeros(1, 1, 32, 32)).shape == (1, 4)
    again = build("mobilenet_v2", num_classes=4, in_channels=1, seed=5)
    assert all(map(torch.equal, network.parameters(), again.parameters()))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_build_of_unknown_names() -> None:
    with pytest.raises(UsageError, match="did you mean 'resnet18'"):
        build("resnet_18")
    with pytest.raises(UsageError, match="did you mean 'cifar_resnet20'"):
        build("cifar_resnet_20")
    with pytest.raises(UsageError, match="num_classes is 0"):
        build("resnet18", num_classes=0)


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    text = """
import torch
def make(): return torch.nn.Linear(2, 3)
def number(): return 3
def fails(): raise KeyError("no\\nluck")
def needs(argument): return argument
"""
    (tmp_path / "a_persons_nets.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "a_persons_nets", raising=False)
    return "a_persons_nets"


def test_a_persons_own_function(own_module: str, tmp_path: Path) -> None:
    network = pretrained(f"{own_module}:make")  # trained by the function, or not: it is the person's
    assert isinstance(network, nn.Linear)
    assert not network.training
    assert not network.weight.requires_grad
    state = {"weight": torch.ones(3, 2), "bias": torch.zeros(3)}
    torch.save(state, tmp_path / "w.pth")
    assert torch.equal(pretrained(f"{own_module}:make", tmp_path / "w.pth").weight, torch.ones(3, 2))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("number", "returned int; it must return a torch.nn.Module"),
        ("fails", r"failed \(KeyError"),
        ("needs", r"failed \(TypeError.*called without arguments"),
        ("absent", r"cannot be imported \(AttributeError"),
    ],
)
def test_own_functions_that_cannot_be(own_module: str, name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        build(f"{own_module}:{name}")
    assert "\n" not in str(caught.value)


def test_own_functions_take_no_arguments(own_module: str) -> None:
    with pytest.raises(UsageError, match="called without arguments"):
        build(f"{own_module}:make", num_classes=3)
    with pytest.raises(UsageError, match="cannot be imported"):
        build("no_such_package.nets:make")
    with pytest.raises(UsageError, match="no published weights 'DEFAULT'"):
        pretrained(f"{own_module}:make", "DEFAULT")


def test_a_network_without_weights_does_not_pass_silently() -> None:
    with pytest.raises(UsageError, match=r"given no weights; .*'random'"):
        pretrained("resnet18")
    network = pretrained("cifar_resnet20", "random", num_classes=2)
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_number_of_classes_is_that_of_the_file(tmp_path: Path) -> None:
    state = cifar_resnet(20, num_classes=6, seed=9).state_dict()
    save_file(state, tmp_path / "w.safetensors")
    for weights in (tmp_path / "w.safetensors", str(tmp_path / "w.safetensors")):
        network = pretrained("cifar_resnet20", weights)
        assert network(torch.zeros(1, 3, 32, 32)).shape == (1, 6)
        assert torch.equal(network.get_parameter("linear.weight"), state["linear.weight"])
    with pytest.raises(UsageError, match=r"linear.weight \(6, 64\) for \(4, 64\).*num_classes"):
        pretrained("cifar_resnet20", tmp_path / "w.safetensors", num_classes=4)


def test_mistyped_path_is_told_as_a_path() -> None:
    with pytest.raises(UsageError, match="no such file"):
        pretrained("resnet18", "weights/mine")
    with pytest.raises(UsageError, match="no such file"):
        pretrained("resnet18", "mine.pth")


@pytest.mark.parametrize("name", ["IMAGENET1K_V1", "ResNet18_Weights.IMAGENET1K_V1"])
def test_published_weights_are_loaded(name: str) -> None:
    state = build("resnet18", seed=4).state_dict()
    put_published("resnet18", name, state)
    network = pretrained("resnet18", name)
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())


def test_published_weights_hold_no_pickles() -> None:
    put_published("resnet18", "DEFAULT", {"state_dict": nn.ReLU()})  # type: ignore[dict-item]
    with pytest.raises(UsageError, match="holds pickled objects"):
        pretrained("resnet18", "DEFAULT")


def test_training_only_classifiers_of_googlenet_are_dropped() -> None:
    """torchvision's own file has them; the network built here does not, and expects what the file expects."""
    state = build("googlenet", aux_logits=True).state_dict()
    assert any(name.startswith("aux1.") for name in state)
    put_published("googlenet", "DEFAULT", state)
    network = pretrained("googlenet", "DEFAULT")
    assert not any(name.startswith("aux") for name in network.state_dict())
    assert network.transform_input is True


def test_published_weights_of_other_classes_or_names() -> None:
    with pytest.raises(UsageError, match="did you mean 'IMAGENET1K_V1'"):
        pretrained("resnet18", "IMAGENET1K_V3")
    with pytest.raises(UsageError, match="1000 classes"):
        pretrained("resnet18", "DEFAULT", num_classes=10)
    with pytest.raises(UsageError, match="torchvision network 'resnet19'"):
        published("resnet19", "DEFAULT")
    with pytest.raises(UsageError, match="no published weights 'DEFAULT'"):
        pretrained("cifar_resnet20", "DEFAULT")


@pytest.mark.parametrize(
    "error", [URLError("no route\nto host"), RuntimeError("invalid hash value"), OSError(28, "full")]
)
def test_failed_download_is_one_line(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def download(*args: object, **kwargs: object) -> None:
        raise error

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    with pytest.raises(UsageError, match=r"cannot fetch https://.*resnet18-f37072fd.pth .*weights=PATH") as caught:
        pretrained("resnet18", "IMAGENET1K_V1")
    assert "\n" not in str(caught.value)


def test_real_weights_on_real_images() -> None:
    from moprune.data.inputs import TarImages
    from moprune.data.tars import index_tar
    from moprune.networks import FeatureExtractor, Preprocess

    folder = os.environ.get("MOPRUNE_DATA")
    if not folder or not (Path(folder) / "resnet20_cifar10.pth").is_file():
        pytest.skip("set MOPRUNE_DATA to a folder with resnet20_cifar10.pth and cifar10_jpeg.tar")
    network = pretrained("cifar_resnet20", Path(folder) / "resnet20_cifar10.pth")
    tar = Path(folder) / "cifar10_jpeg.tar"
    names = sorted(name for name in index_tar(tar).members if name.split("/")[-3:-2] == ["test"])
    classes = sorted({name.split("/")[-2] for name in names})
    chosen = tuple(names[::20])
    preprocess = Preprocess(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    extractor = FeatureExtractor(network, preprocess=preprocess)
    features = extractor.extract(TarImages(tar, chosen), device="cpu")
    labels = torch.tensor([classes.index(name.split("/")[-2]) for name in chosen])
    accuracy = (network.get_submodule("linear")(features).argmax(1) == labels).float().mean()
    assert len(classes) == 10
    assert 0.76 < accuracy < 0.86  # 81.03 % on all 10,000; of 500, two standard errors are 3.5 points
