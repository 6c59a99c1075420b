"""Recorded steps train the same heads as plain ones: the code of a GPU, with a recorder that repeats the call."""

from functools import partial

import pytest
import torch

from moprune.networks.heads import HeadSpec, initial_weights
from moprune.population import Training, TrainingSet, fit_heads
from moprune.population import _replay as replay
from moprune.population.committee import Committee
from moprune.population.without_python import WithoutPython

SPEC = HeadSpec(12, (8,), 3, hidden_bias=True)


def trained(training, committee=None):
    generator = torch.Generator().manual_seed(0)
    x, labels = torch.randn(50, 12, generator=generator), torch.arange(50) % 3
    masks = [(torch.rand(12, generator=generator) < 0.7, torch.ones(8, dtype=torch.bool)) for _ in range(5)]
    return list(
        fit_heads(
            SPEC, masks, TrainingSet(x, labels), initial_weights(SPEC, 1), training,
            then=lambda head: head, seed=1, strategy="stacked", committee=committee,
        )
    )  # fmt: skip


@pytest.mark.parametrize("committee", [None, Committee(2, 1)])
@pytest.mark.parametrize(
    "training",
    [
        Training(epochs=6, batch_size=16, learning_rate=0.1, decay=0.01),
        Training(epochs=6, batch_size=16, learning_rate=0.1, nesterov=False, weight_decay=0),
        Training(epochs=40, batch_size=64, learning_rate=0.5, patience=2, min_delta=0.05, restore_best=True),
    ],
)
def test_recorded_steps_train_the_same_heads(training, committee, monkeypatch):
    plain = trained(training, committee)
    recorded = []

    def record(call):
        recorded.append(call)
        return call

    def launched(step, state, device):
        return replay.Replayed(partial(step.function, state), record)

    for module in ("_stacked", "committee"):
        monkeypatch.setattr(f"moprune.population.{module}.launched", launched)
    found = trained(training, committee)
    assert recorded
    for a, b in zip(plain, found, strict=True):
        assert a.epochs == b.epochs
        for one, other in zip(a.weights.matrices, b.weights.matrices, strict=True):
            assert torch.allclose(one, other, rtol=0, atol=1e-5)


def test_losses_of_a_replay_are_not_overwritten_by_the_next():
    own = torch.zeros(1)

    def record(call):
        return lambda: own.copy_(call())

    replayed = replay.Replayed(lambda x, targets, rate: x.sum(1) * rate, record)
    values = [torch.full((1, 2), float(i)) for i in range(6)]
    assert [replayed(x, x, 0.5) for x in values] == [float(i) for i in range(6)]


def test_batches_of_another_size_and_devices_without_graphs_take_the_plain_step():
    seen = []

    def step(state, x, targets, rate):
        seen.append((len(x), rate))
        return x.sum(1) + state

    replayed = replay.Replayed(partial(step, 1), pytest.fail)
    replayed(torch.ones(4, 2), torch.ones(4), 0.1)
    replayed(torch.ones(3, 2), torch.ones(3), 0.2)
    assert seen[-1] == (3, 0.2)
    script = WithoutPython(step)
    assert replay.launched(script, 1, torch.device("cpu"))(torch.ones(2, 2), torch.ones(2), 0.3).tolist() == [3, 3]
    assert isinstance(replay.launched(script, 1, torch.device("cuda")), replay.Replayed)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_graph_on_a_gpu_trains_the_same_heads():
    generator = torch.Generator().manual_seed(0)
    x, labels = torch.randn(50, 12, generator=generator), torch.arange(50) % 3
    masks = [(torch.rand(12, generator=generator) < 0.7, torch.ones(8, dtype=torch.bool)) for _ in range(5)]
    heads = {}
    for device in ("cpu", "cuda"):
        data = TrainingSet(x.to(device), labels.to(device))
        training = Training(epochs=6, batch_size=16, learning_rate=0.1, decay=0.01)
        start = initial_weights(SPEC, 1)
        heads[device] = list(
            fit_heads(SPEC, masks, data, start, training, then=lambda h: h, seed=1, strategy="stacked")
        )
    for a, b in zip(heads["cpu"], heads["cuda"], strict=True):
        for one, other in zip(a.weights.matrices, b.weights.matrices, strict=True):
            assert torch.allclose(one, other.cpu(), rtol=0, atol=1e-4)
