"""Heads trained on features that stay on disk: the reference, and the same bits as in memory."""

from dataclasses import dataclass, field
from typing import ClassVar

import pytest
import torch

from moprune.data import rows
from moprune.data.rows import FileMatrix, StoredFeatures
from moprune.networks.heads import Connections, HeadSpec, initial_weights
from moprune.population import Committee, Training, TrainingSet, fit_heads, streaming
from moprune.population import heads as population_heads
from moprune.population.modes import dense_weights, shared_weights
from moprune.testing import StrategyContract

SPEC = HeadSpec(9, (8, 6), 4, "tanh", hidden_bias=True)


@dataclass(frozen=True)
class Watched(FileMatrix):
    """Counts the rows that are read."""

    read_so_far: list[int] = field(default_factory=list, hash=False, compare=False)

    def read(self, wanted):
        self.read_so_far.append(len(wanted))
        return super().read(wanted)


def blobs(spec=SPEC, images=53, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(images) % spec.classes
    centres = torch.randn(spec.classes, spec.features, generator=generator)
    return TrainingSet(centres[labels] + torch.randn(images, spec.features, generator=generator), labels)


def on_disk(data, folder):
    """The same set with its features in a file, in another order there."""
    path, order = folder / "features", torch.randperm(len(data.labels), generator=torch.Generator().manual_seed(9))
    path.write_bytes(data.features[order].numpy().tobytes())
    file = Watched(path, 0, *data.features.shape)
    return TrainingSet(StoredFeatures((file,), order.argsort()), data.labels)


def random_masks(spec, count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [tuple(torch.rand(w, generator=generator) < 0.6 for w in spec.units) for _ in range(count)]


def fit(data, masks, training, spec=SPEC, **options):
    start = initial_weights(spec, 1)
    return list(fit_heads(spec, masks, data, start, training, then=lambda head: head, seed=3, **options))


def assert_same(found, expected):
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert (one.epochs, one.removed, one.failed) == (other.epochs, other.removed, other.failed)
        assert torch.equal(one.kept, other.kept)
        pairs = zip(
            one.weights.matrices + one.weights.biases, other.weights.matrices + other.weights.biases, strict=True
        )
        assert all((a is None and b is None) or torch.equal(a, b) for a, b in pairs)


@pytest.fixture(autouse=True)
def block_bytes(request, monkeypatch):
    """Blocks of some batches, unless a test says otherwise."""
    size = getattr(request, "param", 1000)
    monkeypatch.setattr(streaming, "BLOCK_BYTES", size)
    monkeypatch.setattr(rows, "BLOCK_BYTES", size)


class TestLoop(StrategyContract):
    options: ClassVar = {"strategy": "loop"}

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path):
        self.folder = tmp_path

    def fit(self, spec, masks, data, start, training, seed):
        stored = on_disk(data, self.folder)
        return list(fit_heads(spec, masks, stored, start, training, then=lambda head: head, seed=seed, **self.options))


class TestStacked(TestLoop):
    options: ClassVar = {"strategy": "stacked", "chunk": 3}


TRAININGS = {
    "plain": Training(epochs=4, batch_size=8, learning_rate=0.05, decay=0.01),
    "patient": Training(epochs=9, batch_size=10, learning_rate=0.2, patience=1, min_delta=0.05, restore_best=True),
    "whole": Training(epochs=3, batch_size=1000, nesterov=False),
    "none": Training(epochs=0),
}


@pytest.mark.parametrize("block_bytes", [1, 1000, 2**25], indirect=True, ids=["a batch", "some", "all"])
@pytest.mark.parametrize("training", TRAININGS)
@pytest.mark.parametrize(
    "options",
    [
        {"strategy": "loop"},
        {"strategy": "stacked"},
        {"strategy": "stacked", "chunk": 3},
        {"strategy": "loop", "committee": Committee(3, 2)},
        {"strategy": "stacked", "chunk": 2, "committee": Committee(2, 1)},
    ],
    ids=["loop", "stacked", "chunks", "committees", "committees together"],
)
def test_heads_are_those_of_features_in_memory_bit_for_bit(tmp_path, options, training):
    data, masks = blobs(), random_masks(SPEC, 7)
    if "committee" not in options:
        masks.append(Connections(SPEC, 1, torch.rand(8, 6, generator=torch.Generator().manual_seed(2)) < 0.5))
    expected = fit(data, masks, TRAININGS[training], **options)
    assert_same(fit(on_disk(data, tmp_path), masks, TRAININGS[training], **options), expected)
    if training == "patient":
        assert len({head.epochs for head in expected}) > 1, "heads should stop at different times"


def test_they_do_not_depend_on_who_shares_the_pass(tmp_path, monkeypatch):
    data, masks, training = on_disk(blobs(), tmp_path), random_masks(SPEC, 5), TRAININGS["patient"]
    together = fit(data, masks, training, strategy="loop")
    monkeypatch.setattr(population_heads, "_HEADS_BYTES", 1)  # a pass for each
    assert_same(fit(data, masks, training, strategy="loop"), together)
    assert_same(fit(data, masks[::-1], training, strategy="loop")[::-1], together)


@pytest.mark.parametrize("strategy", ["loop", "stacked"])
def test_an_epoch_is_one_pass_however_many_heads_there_are(tmp_path, strategy):
    data = on_disk(blobs(), tmp_path)
    (file,) = data.matrix.files
    fit(data, random_masks(SPEC, 40), TRAININGS["plain"], strategy=strategy)
    assert sum(file.read_so_far) == 4 * 53


def test_what_fails_while_scoring_is_raised(tmp_path):
    def then(head):
        raise ValueError("no")

    start, training = initial_weights(SPEC, 1), TRAININGS["plain"]
    with pytest.raises(ValueError, match="no"):
        list(fit_heads(SPEC, random_masks(SPEC, 2), on_disk(blobs(), tmp_path), start, training, then=then, seed=0))


def test_start_weights_are_those_of_features_in_memory(tmp_path):
    data, start, training = blobs(), initial_weights(SPEC, 1), TRAININGS["plain"]
    stored = on_disk(data, tmp_path)

    def draw(generator):
        return tuple(torch.rand(w, generator=generator) < 0.5 for w in SPEC.units)

    for make in (
        lambda data: dense_weights(SPEC, data, start, training, seed=2),
        lambda data: shared_weights(SPEC, draw, data, start, training, seed=2),
    ):
        found, expected = make(stored), make(data)
        assert all(torch.equal(a, b) for a, b in zip(found.matrices, expected.matrices, strict=True))


@pytest.mark.parametrize(
    "device", ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]
)
def test_features_copied_beside_the_work_are_the_same(device):
    x = torch.randn(100, 7)
    moved = streaming.copied_beside(x, torch.device(device))
    assert moved.device.type == device
    assert torch.equal(moved.cpu(), x)
