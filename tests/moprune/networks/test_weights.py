import io
import re
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from moprune.errors import UsageError
from moprune.networks import load_weights


def small() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 5))


@pytest.fixture
def state() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.rand(value.shape, generator=generator).to(value.dtype)
        for name, value in small().state_dict().items()
    }


def assert_holds(network: nn.Module, state: dict[str, Tensor]) -> None:
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, state[name], rtol=0, atol=0, msg=name)


@pytest.mark.parametrize("nesting", [None, "state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_torch_files(tmp_path: Path, state: dict[str, Tensor], nesting: str | None, prefix: str) -> None:
    named = {prefix + name: value for name, value in state.items()}
    torch.save({nesting: named, "epoch": 3} if nesting else named, tmp_path / "w.pth")
    network = small()
    load_weights(network, tmp_path / "w.pth")
    assert_holds(network, state)


def test_old_torch_format(tmp_path: Path, state: dict[str, Tensor]) -> None:
    torch.save(state, tmp_path / "w.pt", _use_new_zipfile_serialization=False)
    network = small()
    load_weights(network, str(tmp_path / "w.pt"))
    assert_holds(network, state)


def test_safetensors(tmp_path: Path, state: dict[str, Tensor]) -> None:
    save_file(state, tmp_path / "w.safetensors")
    network = small()
    load_weights(network, tmp_path / "w.safetensors")
    assert_holds(network, state)


def test_half_precision_is_cast_to_the_networks_type(tmp_path: Path, state: dict[str, Tensor]) -> None:
    halves = {name: v.half() if v.is_floating_point() else v for name, v in state.items()}
    torch.save(halves, tmp_path / "w.pth")
    network = small()
    load_weights(network, tmp_path / "w.pth")
    assert {value.dtype for value in network.parameters()} == {torch.float32}
    assert_holds(network, {n: v.float() if v.is_floating_point() else v for n, v in halves.items()})


def test_counter_missing_from_old_files_is_no_fault(tmp_path: Path, state: dict[str, Tensor]) -> None:
    del state["1.num_batches_tracked"]
    torch.save(state, tmp_path / "w.pth")
    load_weights(small(), tmp_path / "w.pth")


def test_faults_are_named_and_the_network_is_left_alone(tmp_path: Path, state: dict[str, Tensor]) -> None:
    state["3.weight"] = torch.zeros(7, 16)
    del state["0.bias"]
    for i in range(5):
        state[f"extra{i}"] = torch.zeros(1)
    torch.save(state, tmp_path / "w.pth")
    network = small()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(UsageError) as caught:
        load_weights(network, tmp_path / "w.pth")
    message = str(caught.value)
    assert "\n" not in message
    assert "missing: 0.bias;" in message
    assert "unexpected: extra0, extra1, extra2 and 2 more" in message
    assert "3.weight (7, 16) for (5, 16)" in message
    assert_holds(network, before)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e39])
def test_values_that_are_not_finite_are_refused(tmp_path: Path, state: dict[str, Tensor], value: float) -> None:
    state["1.running_var"] = state["1.running_var"].double()  # 1e39 is finite until it becomes float32
    state["1.running_var"][2] = value
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(UsageError, match=r"1\.running_var has values that are not finite"):
        load_weights(small(), tmp_path / "w.pth")


class Exploding:
    def __reduce__(self) -> tuple[object, ...]:
        return pytest.fail, ("a pickle was run",)


@pytest.mark.parametrize("content", ["network", "exploding"])
@pytest.mark.parametrize("zipped", [True, False])
def test_pickled_objects_are_refused(tmp_path: Path, state: dict[str, Tensor], content: str, zipped: bool) -> None:
    thing = small() if content == "network" else {"state_dict": state, "x": Exploding()}
    torch.save(thing, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(UsageError, match=r"holds pickled objects \(.+\).*save a state dict") as caught:
        load_weights(small(), tmp_path / "w.pth")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
@pytest.mark.parametrize("damage", ["empty", "text", "html", "cut"])
def test_damaged_files(tmp_path: Path, state: dict[str, Tensor], name: str, damage: str) -> None:
    path = tmp_path / name
    if name.endswith("pth"):
        torch.save(state, path)
    else:
        save_file(state, path)
    whole = path.read_bytes()
    contents = {"empty": b"", "text": b"version https://git-lfs", "html": b"<html>" * 99, "cut": whole[:-500]}
    path.write_bytes(contents[damage])
    with pytest.raises(UsageError, match=r"is not a whole .*get it again") as caught:
        load_weights(small(), path)
    assert "\n" not in str(caught.value)
    assert "weights_only" not in str(caught.value)  # torch's advice to load without a check is not passed on


def test_an_archive_whose_names_are_no_text_is_damaged(tmp_path: Path, state: dict[str, Tensor]) -> None:
    path = tmp_path / "w.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("w/ä", b"")
    path.write_bytes(path.read_bytes().replace("ä".encode(), b"\xff\xff"))
    with pytest.raises(UsageError, match="is not a whole file"):
        load_weights(small(), path)


def test_script_programs(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "w.pt", "w") as archive:
        archive.writestr("w/constants.pkl", b"")
    with pytest.raises(UsageError, match="is a TorchScript program"):
        load_weights(small(), tmp_path / "w.pt")


def test_files_without_named_tensors(tmp_path: Path) -> None:
    torch.save([1, 2, 3], tmp_path / "list.pth")
    torch.save({"epoch": 3}, tmp_path / "none.pth")
    for name in ("list.pth", "none.pth"):
        with pytest.raises(UsageError, match="holds no tensors by name"):
            load_weights(small(), tmp_path / name)
    with pytest.raises(UsageError, match="no such file"):
        load_weights(small(), tmp_path / "absent.pth")
    with pytest.raises(UsageError, match="no such file"):
        load_weights(small(), tmp_path)


def test_densenets_old_names(tmp_path: Path) -> None:
    class Layers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.denselayer1 = nn.Module()
            self.denselayer1.norm1 = nn.BatchNorm2d(2)
            self.denselayer1.conv2 = nn.Conv2d(2, 2, 1)

    network = Layers()
    file = io.BytesIO()
    old = {re.sub(r"(norm|conv)([12])", r"\1.\2", n): v + 1 for n, v in network.state_dict().items()}
    torch.save(old, file)
    assert "denselayer1.norm.1.weight" in old
    (tmp_path / "w.pth").write_bytes(file.getvalue())
    load_weights(network, tmp_path / "w.pth")
    assert torch.equal(network.get_parameter("denselayer1.norm1.weight"), torch.full((2,), 2.0))
