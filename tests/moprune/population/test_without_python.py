"""Functions run without Python are the same to the bit, in every thread and at every call; or Python runs them."""

import warnings
from concurrent.futures import ThreadPoolExecutor
from itertools import product

import pytest
import torch

from moprune.networks.heads import ACTIVATIONS, Connections, HeadSpec, initial_weights
from moprune.population import Training, TrainingSet, _loop, fit_heads
from moprune.population import without_python as module
from moprune.population.without_python import WithoutPython
from moprune.seeding import torch_generator


def powers(x: torch.Tensor, times: int) -> list[torch.Tensor]:
    found: list[torch.Tensor] = []
    for _ in range(times):
        x = x @ x
        found.append(x)
    return found


def test_a_script_does_what_python_does():
    run = WithoutPython(powers)
    x = torch.rand(7, 7)
    for _ in range(4):  # scripts are optimised after some calls
        assert all(torch.equal(a, b) for a, b in zip(run(x, times=3), powers(x, 3), strict=True))
    assert run._script is not powers


def test_nobody_is_told_of_the_end_of_scripts():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        WithoutPython(powers)(torch.eye(2), 1)


def test_threads_compile_once(monkeypatch):
    compiled = []
    monkeypatch.setattr(module, "_scripted", lambda function: compiled.append(function) or function)
    run = WithoutPython(powers)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: run(torch.eye(2), 1), range(8)))
    assert compiled == [powers]


def test_errors_are_those_of_torch():
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        WithoutPython(powers)(torch.ones(2, 3), 1)


def unknown(x: torch.Tensor) -> torch.Tensor:
    return x + len(warnings.filters) * 0


@pytest.mark.parametrize("missing", ["script", "optimized_execution"])
def test_without_scripts_python_runs_it(missing, monkeypatch):
    monkeypatch.delattr(torch.jit, missing)
    run = WithoutPython(powers)
    assert torch.equal(run(2 * torch.eye(2), 2)[1], 16 * torch.eye(2))
    assert run._script is powers


def test_what_scripts_do_not_know_python_runs():
    run = WithoutPython(unknown)
    assert run(torch.ones(1)) == 1
    assert run._script is unknown


@pytest.mark.parametrize(
    ("hidden", "bias", "activation"), [*product([(), (6,), (700, 5)], [False, True], ["relu"]), ((6,), True, "tanh")]
)
def test_heads_are_the_same_to_the_bit(hidden, bias, activation, monkeypatch):
    assert activation in ACTIVATIONS
    spec = HeadSpec(90, hidden, 3, activation, bias)
    generator = torch_generator(0, "features")
    data = TrainingSet(torch.randn(70, 90, generator=generator), torch.arange(70) % 3)
    masks = [spec.all_on(), tuple(torch.rand(width, generator=generator) < 0.7 for width in spec.units)]
    masks.append(Connections(spec, 0, torch.rand(90, [*hidden, 3][0], generator=generator) < 0.5))

    trainings = [
        Training(epochs=3, batch_size=32, momentum=0.0, decay=0.01, patience=1, restore_best=True),
        Training(epochs=3, batch_size=32, weight_decay=0.0),
    ]

    def fitted(training):
        heads = fit_heads(
            spec, masks, data, initial_weights(spec, 0), training, then=lambda head: head, seed=0, strategy="loop"
        )
        return [each for head in heads for each in (*head.weights.matrices, head.weights.biases[-1])]

    found = [fitted(training) for training in trainings for _ in range(2)]
    monkeypatch.setattr(_loop, "_steps", _loop._stepwise)
    expected = [fitted(training) for training in trainings for _ in range(2)]
    for ours, plain in zip(found, expected, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(ours, plain, strict=True))
