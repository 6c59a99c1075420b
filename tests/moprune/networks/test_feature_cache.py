"""Features on disk: the same values as extracted in memory, in a file that serves both ways."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from moprune.data import FeatureInputs, StoredFeatures, TensorInputs
from moprune.data.rows import FileMatrix
from moprune.errors import MopruneError, UsageError
from moprune.networks import FeatureExtractor
from moprune.networks.feature_cache import bounded_features, cached_features
from moprune.networks.given import AsGiven, GivenFeatures


class Net(nn.Module):
    """Sixteen features behind a linear layer; counts the images it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.fc = nn.Linear(64, 16), nn.Linear(16, 3)
        self.calls: list[int] = []
        for index, parameter in enumerate(self.parameters()):
            nn.init.uniform_(parameter, -1, 1, generator=torch.Generator().manual_seed(index))

    def forward(self, x: Tensor) -> Tensor:
        self.calls.append(len(x))
        out: Tensor = self.fc(self.first(x.flatten(1)).relu())
        return out


def images(count: int = 13) -> TensorInputs:
    return TensorInputs(torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(1)))


def test_features_too_large_for_memory_stay_in_the_file_they_are_written_to(tmp_path: Path) -> None:
    """The same values, kept in a file that serves both ways; 16 features an image are 64 bytes."""
    inputs, expected = images(70), FeatureExtractor(Net()).extract(images(70), device="cpu")
    for most, kind in ((64, Tensor), (63, StoredFeatures)):
        net, folder = Net(), tmp_path / str(most)
        found = bounded_features(most, FeatureExtractor(net), inputs, device="cpu", folder=folder, batch_size=8)
        assert isinstance(found, kind)
        assert torch.equal(found if isinstance(found, Tensor) else found.matrix(), expected)
        net.calls.clear()
        again = cached_features(FeatureExtractor(net), inputs, device="cpu", folder=folder)
        stored = bounded_features(63, FeatureExtractor(net), inputs, device="cpu", folder=folder)
        assert torch.equal(again, expected)
        assert torch.equal(stored.matrix(), expected)
        assert net.calls == []
    (one,), (other,) = ((tmp_path / name).iterdir() for name in ("63", "64"))
    assert load_file(one)["features"].equal(load_file(other)["features"])


@pytest.mark.parametrize("damage", ["garbage", "cut short", "another value"])
def test_damaged_files_of_large_features_are_made_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    def found() -> Tensor:
        stored = bounded_features(1, FeatureExtractor(Net()), images(), device="cpu", folder=tmp_path)
        assert isinstance(stored, StoredFeatures)
        return stored.matrix()

    expected = found()
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    changed = {"garbage": b"garbage", "cut short": whole[:-4], "another value": whole[:-4] + b"\0\0\0\1"}[damage]
    path.write_bytes(changed)
    assert torch.equal(found(), expected)
    assert "made again" in caplog.text
    assert path.read_bytes() == whole


def test_large_features_that_cannot_be_written_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MopruneError, match=r"cannot write .*file"):
        bounded_features(1, FeatureExtractor(Net()), images(), device="cpu", folder=tmp_path / "file")


def test_given_features_stay_where_they_are_or_are_read(tmp_path: Path) -> None:
    values = torch.rand(7, 3, generator=torch.Generator().manual_seed(2))
    (tmp_path / "given").write_bytes(values.numpy().tobytes())
    inputs = FeatureInputs(StoredFeatures.of(FileMatrix(tmp_path / "given", 0, 7, 3)))
    extractor = FeatureExtractor(GivenFeatures(), features="features", preprocess=AsGiven())
    folder = tmp_path / "cache"
    for most, kind in ((12, Tensor), (11, StoredFeatures)):
        found = bounded_features(most, extractor, inputs, device="cpu", folder=folder)
        assert isinstance(found, kind)
        assert torch.equal(found if isinstance(found, Tensor) else found.matrix(), values)
    assert torch.equal(extractor.extract(inputs, device="cpu"), values)
    assert not folder.exists()
    with pytest.raises(UsageError, match=r"data\.source features"):
        AsGiven()(torch.zeros(1, 2, 2))
