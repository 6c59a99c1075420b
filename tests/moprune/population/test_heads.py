"""Training a population of masked heads, against autograd and torch.optim.SGD on masked dense layers."""

import weakref
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from moprune.errors import MopruneError, UsageError
from moprune.networks.heads import ACTIVATIONS, Connections, HeadSpec, TrainedHead, initial_weights
from moprune.population import Training, TrainingSet, fit_heads
from moprune.population import heads as population_heads
from moprune.testing import StrategyContract, reference_fit


def blobs(spec, images=40, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(images) % spec.classes
    centres = torch.randn(spec.classes, spec.features, generator=generator)
    return TrainingSet(centres[labels] + torch.randn(images, spec.features, generator=generator), labels)


def random_masks(spec, count, density=0.5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [tuple(torch.rand(w, generator=generator) < density for w in spec.units) for _ in range(count)]


def itself(head):
    return head


def fit(spec, masks, training, strategy, data=None, seed=3, **options):
    data, start = data or blobs(spec), initial_weights(spec, 1)
    return list(fit_heads(spec, masks, data, start, training, then=itself, seed=seed, strategy=strategy, **options))


class TestLoop(StrategyContract):
    options: ClassVar = {"strategy": "loop"}

    def fit(self, spec, masks, data, start, training, seed):
        return list(fit_heads(spec, masks, data, start, training, then=itself, seed=seed, **self.options))


class TestStacked(TestLoop):
    options: ClassVar = {"strategy": "stacked"}


class TestStackedInChunks(TestLoop):
    options: ClassVar = {"strategy": "stacked", "chunk": 3}


def test_the_reference_is_what_torch_does_to_a_network_with_the_units_removed():
    """The reference itself, against nn.Linear layers of the compact size and SGD with its own L2 switched off."""
    spec = HeadSpec(6, (5, 4), 3, "tanh", hidden_bias=True)
    data, (masks,) = blobs(spec), random_masks(spec, 1, 0.6, seed=4)
    training = Training(epochs=3, batch_size=7, learning_rate=0.1, decay=0.05, weight_decay=0.0)
    start = initial_weights(spec, 1)
    compact = start.compact(masks)
    layers = []
    for matrix, bias in zip(compact.matrices, compact.biases, strict=True):
        layer = nn.Linear(*matrix.shape).double()
        layer.load_state_dict({"weight": matrix.T.double(), "bias": bias.double()})
        layers += [layer, nn.Tanh()]
    network = nn.Sequential(*layers[:-1])
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + 0.05 * step))
    x = data.features[:, masks[0]].double()
    for epoch in (1, 2, 3):
        for batch in training.batches(len(x), epoch, 9, torch.device("cpu")):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(x[batch]), data.labels[batch]).backward()
            optimizer.step()
            schedule.step()
    (head,) = reference_fit(spec, [masks], data, start, training, seed=9)
    assert torch.allclose(head.logits(data.features.double()), network(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("patience", [1, 2, 3])
@pytest.mark.parametrize("strategy", ["loop", "stacked"])
def test_early_stopping_differs_between_candidates_and_follows_the_plain_rule(strategy, patience):
    spec = HeadSpec(8, (6,), 3)
    masks, data = random_masks(spec, 12, 0.5, seed=2), blobs(spec)
    training = Training(
        epochs=30, batch_size=8, learning_rate=0.6, patience=patience, min_delta=0.01, restore_best=True
    )
    heads = fit(spec, masks, training, strategy, data)
    expected = reference_fit(spec, masks, data, initial_weights(spec, 1), training, seed=3)
    epochs = [head.epochs for head in heads]
    assert epochs == [head.epochs for head in expected]
    assert len(set(epochs)) > 2, "the case is too easy: all candidates stopped alike"


def test_restoring_keeps_the_epoch_of_least_loss():
    """Trained only up to the best epoch, a head is the restored one."""
    spec = HeadSpec(8, (6,), 3)
    masks = random_masks(spec, 4, 0.7)
    training = Training(epochs=8, batch_size=8, learning_rate=3.0, momentum=0.0, min_delta=0.0, restore_best=True)
    for strategy in ("loop", "stacked"):
        restored = fit(spec, masks, training, strategy)
        for i, head in enumerate(restored):
            candidates = [
                fit(spec, [masks[i]], replace(training, epochs=e, restore_best=False), strategy)[0] for e in range(1, 9)
            ]
            equal = [torch.allclose(c.weights.matrices[0], head.weights.matrices[0], atol=1e-6) for c in candidates]
            assert any(equal)
            assert head.epochs == 8


@settings(max_examples=40)
@given(st.data())
def test_the_strategies_agree(data):
    spec = HeadSpec(
        data.draw(st.integers(1, 6)),
        tuple(data.draw(st.lists(st.integers(1, 5), max_size=2))),
        data.draw(st.integers(2, 4)),
        data.draw(st.sampled_from(sorted(ACTIVATIONS))),
        data.draw(st.booleans()),
    )
    bits = [[data.draw(st.lists(st.booleans(), min_size=w, max_size=w)) for w in spec.units] for _ in range(3)]
    masks = [tuple(torch.tensor(layer) for layer in candidate) for candidate in bits]
    training = Training(
        epochs=data.draw(st.integers(0, 4)),
        batch_size=data.draw(st.integers(5, 40)),
        patience=data.draw(st.sampled_from([None, 1, 2])),
        restore_best=data.draw(st.booleans()),
        min_delta=data.draw(st.sampled_from([1e-2, 1e-1])),
    )
    first, second = (fit(spec, masks, training, strategy) for strategy in ("loop", "stacked"))
    x = blobs(spec).features
    for a, b in zip(first, second, strict=True):
        assert (a.epochs, a.widths, a.failed) == (b.epochs, b.widths, b.failed)
        assert torch.allclose(a.logits(x), b.logits(x), rtol=0, atol=1e-4)


@settings(max_examples=40)
@given(
    st.integers(1, 6),
    st.lists(st.integers(1, 5), max_size=2),
    st.sampled_from(sorted(ACTIVATIONS)),
    st.integers(0, 999),
)
def test_a_heads_module_is_the_head(features, hidden, activation, seed):
    spec = HeadSpec(features, tuple(hidden), 3, activation, bool(seed % 2))
    for strategy in ("loop", "stacked"):
        (head,) = fit(spec, random_masks(spec, 1, seed=seed), Training(epochs=1), strategy)
        x = torch.randn(5, features, generator=torch.Generator().manual_seed(seed))
        module = head.module()
        assert torch.allclose(module(x), head.logits(x), rtol=0, atol=1e-5)
        assert sum(p.numel() for p in module.parameters()) == spec.parameters(head.widths)
        # It is an ordinary network: gradients reach its input, and its weights can be trained further.
        x.requires_grad_()
        module.requires_grad_()(x).sum().backward()
        assert x.grad is not None
        before = [w.clone() for w in head.weights.matrices]
        with torch.no_grad():
            for parameter in module.parameters():
                parameter += 1
        assert all(torch.equal(a, b) for a, b in zip(before, head.weights.matrices, strict=True))


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
@pytest.mark.parametrize("hidden", [(), (6,), (6, 5)])
def test_cutting_units_out_equals_multiplying_their_outputs_by_zero(hidden, activation):
    spec = HeadSpec(8, hidden, 3, activation, hidden_bias=True)
    weights = initial_weights(spec, 0)
    generator = torch.Generator().manual_seed(1)
    biases = tuple(torch.randn(b.shape, generator=generator).double() for b in weights.biases)
    weights = replace(weights, matrices=tuple(m.double() for m in weights.matrices), biases=biases)
    x = torch.randn(9, 8, generator=generator).double()
    ends = [spec.all_on(), tuple(torch.zeros(w, dtype=torch.bool) for w in spec.units)]
    for masks in (*random_masks(spec, 5, seed=2), *ends):
        y = x * masks[0]
        for layer, (matrix, bias) in enumerate(zip(weights.matrices, weights.biases, strict=True)):
            y = y @ matrix + bias
            if layer + 1 < len(weights.matrices):
                y = getattr(torch, activation)(y) * masks[layer + 1]
        head = TrainedHead(spec, masks[0].nonzero()[:, 0], weights.compact(masks), 0)
        assert torch.allclose(head.logits(x), y, rtol=0, atol=1e-14)
        assert head.widths == tuple(int(mask.sum()) for mask in masks)


def test_compacting_copies():
    spec = HeadSpec(3, (2,), 2, hidden_bias=True)
    weights = initial_weights(spec, 0)
    compact = weights.compact(spec.all_on())
    for tensor in (*compact.matrices, *compact.biases):
        tensor += 1
    again = initial_weights(spec, 0)
    assert all(torch.equal(a, b) for a, b in zip(weights.matrices, again.matrices, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(weights.biases, again.biases, strict=True))


def test_initial_weights_are_glorot_uniform_and_repeat_themselves():
    spec = HeadSpec(300, (200,), 10, hidden_bias=True)
    weights = initial_weights(spec, 4)
    for matrix in weights.matrices:
        bound = (6 / sum(matrix.shape)) ** 0.5
        assert float(matrix.abs().max()) <= bound
        assert float(matrix.var()) == pytest.approx(bound**2 / 3, rel=0.1)
    assert all((b == 0).all() for b in weights.biases)
    assert initial_weights(HeadSpec(3, (2,), 2), 0).biases[0] is None
    assert torch.equal(weights.matrices[0], initial_weights(spec, 4).matrices[0])
    assert not torch.equal(weights.matrices[0], initial_weights(spec, 4, repeat=1).matrices[0])
    assert not torch.equal(weights.matrices[0], initial_weights(spec, 5).matrices[0])


def test_parameters_count_the_compact_head():
    assert HeadSpec(5, (), 3).parameters() == 5 * 3 + 3
    assert HeadSpec(5, (4,), 3).parameters() == 5 * 4 + 4 * 3 + 3
    assert HeadSpec(5, (4,), 3, hidden_bias=True).parameters((2, 1)) == 2 + 1 + 3 + 3
    assert HeadSpec(5, (4, 2), 3, hidden_bias=True).parameters((0, 0, 0)) == 3


@pytest.mark.parametrize("arguments", [(0, (), 2), (3, (0,), 2), (3, (), 1), (3, (2, -1), 3), (3, (), 2, "softplus")])
def test_impossible_heads_are_refused(arguments):
    with pytest.raises(UsageError, match=r"head|activation"):
        HeadSpec(*arguments)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": -1}, "epochs"),
        ({"batch_size": 0}, "batch_size"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"momentum": 1.0}, "momentum"),
        ({"decay": -1.0}, "decay"),
        ({"weight_decay": -1.0}, "decay"),
        ({"patience": 0}, "patience"),
    ],
)
def test_impossible_trainings_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        Training(**options)


@pytest.mark.parametrize("images", [1, 31, 32, 33, 100])
def test_an_epoch_sees_every_image_once_in_an_order_of_its_own(images):
    training = Training(batch_size=32)
    epochs = [[*training.batches(images, epoch, 5, torch.device("cpu"))] for epoch in (1, 2)]
    for batches in epochs:
        assert sorted(torch.cat(batches).tolist()) == list(range(images))
        assert [len(b) for b in batches[:-1]] == [32] * (len(batches) - 1)
    again = [*training.batches(images, 1, 5, torch.device("cpu"))]
    assert all(torch.equal(a, b) for a, b in zip(epochs[0], again, strict=True))
    if images > 32:
        assert torch.cat(epochs[0]).tolist() != torch.cat(epochs[1]).tolist()


@pytest.mark.parametrize("strategy", ["loop", "stacked"])
def test_a_diverged_head_is_marked_and_leaves_the_others_alone(strategy):
    spec = HeadSpec(4, (3,), 2, hidden_bias=True)
    masks = [*random_masks(spec, 3, 0.7, seed=1), tuple(torch.zeros(w, dtype=torch.bool) for w in spec.units)]
    data = blobs(spec)
    assert fit(spec, masks, Training(epochs=5, learning_rate=1e30), strategy, data)[0].failed
    huge = TrainingSet(data.features.clone(), data.labels)
    huge.features[:, 0] = 1e30  # only candidates that keep this feature can diverge
    keeps = [mask[0].tolist()[0] for mask in masks]
    assert len(set(keeps)) == 2
    heads = fit(spec, masks, Training(epochs=5, learning_rate=1.0), strategy, huge)
    assert [head.failed for head in heads] == keeps


def limited_to(size, tried):
    def work(part, _stop):
        tried.append(len(part))
        if len(part) > size:
            raise torch.cuda.OutOfMemoryError("out of memory")
        return list(part)

    return work


@pytest.mark.parametrize(
    ("size", "expected"), [(1, [8, 4, 2] + [1] * 11), (2, [8, 4, 2, 2, 2, 2, 2, 1]), (5, [8, 4, 4, 3]), (9, [8, 3])]
)
def test_chunks_are_halved_until_they_fit(size, expected):
    tried = []
    work, spec, device = limited_to(size, tried), HeadSpec(4, (3,), 2), torch.device("cuda")
    assert list(population_heads._one_by_one(work, list(range(11)), 8, spec, device)) == list(range(11))
    assert tried == expected


def test_a_head_too_large_for_the_device_is_one_clear_error():
    work, spec, device = limited_to(0, []), HeadSpec(4, (3,), 2), torch.device("cuda")
    with pytest.raises(MopruneError, match="does not fit into the memory of cuda"):
        list(population_heads._one_by_one(work, [1, 2], 8, spec, device))


@pytest.mark.parametrize("strategy", ["loop", "stacked"])
def test_what_follows_training_runs_once_a_head_and_its_errors_surface(strategy):
    spec = HeadSpec(4, (3,), 2)
    masks, options = random_masks(spec, 7), {"seed": 0, "strategy": strategy, "chunk": 2}
    start, training = initial_weights(spec, 1), Training(epochs=1)
    widths = fit_heads(spec, masks, blobs(spec), start, training, then=lambda head: head.widths, **options)
    assert list(widths) == [tuple(int(m.sum()) for m in candidate) for candidate in masks]
    with pytest.raises(ZeroDivisionError):
        list(fit_heads(spec, masks, blobs(spec), start, training, then=lambda head: 1 / 0, **options))
    threads = torch.get_num_threads()
    stopped_early = fit_heads(spec, masks, blobs(spec), start, training, then=itself, **options)
    next(stopped_early)
    stopped_early.close()
    assert torch.get_num_threads() == threads


def test_results_do_not_depend_on_order_or_chunks():
    spec = HeadSpec(8, (6,), 3)
    masks = random_masks(spec, 10)
    training = Training(epochs=5, batch_size=8, patience=2, min_delta=0.05)
    for strategy in ("loop", "stacked"):
        whole = fit(spec, masks, training, strategy)
        order = np.random.default_rng(0).permutation(10)
        shuffled = fit(spec, [masks[i] for i in order], training, strategy, chunk=3)
        for place, i in enumerate(order):
            assert whole[i].epochs == shuffled[place].epochs
            for a, b in zip(whole[i].weights.matrices, shuffled[place].weights.matrices, strict=True):
                assert torch.allclose(a, b, rtol=0, atol=1e-6)


def test_what_does_not_fit_is_refused():
    spec = HeadSpec(4, (3,), 2)
    with pytest.raises(UsageError, match="did you mean 'stacked'"):
        fit(spec, random_masks(spec, 1), Training(), "stackd")
    with pytest.raises(UsageError, match=r"widths \(4, 3\)"):
        fit(spec, random_masks(HeadSpec(4, (2,), 2), 1), Training(), "loop")
    with pytest.raises(UsageError, match=r"torch\.float32"):
        fit(spec, [(torch.ones(4), torch.ones(3))], Training(), "loop")
    with pytest.raises(UsageError, match="chunk"):
        fit(spec, random_masks(spec, 1), Training(), "stacked", chunk=0)
    assert fit(spec, [], Training(), "stacked") == []


def test_the_strategy_follows_device_and_size():
    small, large = HeadSpec(64, (32,), 10), HeadSpec(2048, (512,), 10)
    choose = population_heads.choose_strategy
    assert [choose(spec, torch.device("cpu")) for spec in (small, large)] == ["stacked", "loop"]
    assert choose(large, torch.device("cuda")) == "stacked"


def test_chunks_on_a_gpu_follow_its_free_memory(monkeypatch):
    spec = HeadSpec(100, (50,), 10)
    each = 4 * (3 * spec.parameters() + 4 * 32 * 160)
    for room, expected in ((1, 1), (7, 7), (10_000, 512)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _device, room=room: (2 * room * each, None))
        assert population_heads.chunk_size(spec, Training(), torch.device("cuda")) == expected


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("strategy", ["loop", "stacked"])
def test_a_cuda_device_gives_the_same_heads(strategy):
    spec = HeadSpec(8, (6,), 3, hidden_bias=True)
    masks, data = random_masks(spec, 5), blobs(spec)
    there = TrainingSet(data.features.cuda(), data.labels.cuda())
    here = fit(spec, masks, Training(epochs=4), strategy, data)
    for a, b in zip(fit(spec, masks, Training(epochs=4), strategy, there), here, strict=True):
        assert torch.allclose(a.logits(there.features).cpu(), b.logits(data.features), rtol=0, atol=1e-4)


def random_connections(spec, count, matrix=0, density=0.5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = initial_weights(spec, 0).matrices[matrix].shape
    return [Connections(spec, matrix, torch.rand(shape, generator=generator) < density) for _ in range(count)]


class MaskedLinear(nn.Linear):
    """A dense layer whose weights are multiplied by a mask, as EvoPruneDeepTL's sparse layer."""

    def forward(self, x):
        return nn.functional.linear(x, self.weight * self.on, self.bias)


@pytest.mark.parametrize("matrix", [0, 1, 2])
@pytest.mark.parametrize("strategy", ["loop", "stacked"])
def test_connections_are_trained_like_a_masked_dense_module(strategy, matrix):
    spec = HeadSpec(6, (5, 4), 3)
    data, (masks,), start = blobs(spec), random_connections(spec, 1, matrix, seed=4), initial_weights(spec, 1)
    training = Training(epochs=6, batch_size=7, learning_rate=0.1, weight_decay=0.0)
    layers = []
    for i, weights in enumerate(start.matrices):
        layer = MaskedLinear(*weights.shape, bias=i == 2).double()
        layer.on = masks.on.T.double() if i == matrix else torch.ones(1).double()
        layer.weight.data = (weights.T.double() * layer.on).contiguous()
        if i == 2:
            layer.bias.data.zero_()
        layers += [layer, nn.ReLU()]
    network = nn.Sequential(*layers[:-1])
    optimizer = torch.optim.SGD(network.parameters(), lr=0.02 * 5, momentum=0.9, nesterov=True)
    x = data.features.double()
    for epoch in range(1, 7):
        for batch in training.batches(len(x), epoch, 3, torch.device("cpu")):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(x[batch]), data.labels[batch]).backward()
            optimizer.step()
    (head,) = fit(spec, [masks], training, strategy, data)
    for found, layer in zip(head.weights.matrices, layers[::2], strict=True):
        assert torch.allclose(found.double(), (layer.weight * layer.on).T, rtol=0, atol=1e-5)
    assert torch.allclose(head.logits(data.features).double(), network(x), rtol=0, atol=1e-5)
    assert torch.equal(head.weights.matrices[matrix] != 0, masks.on)
    assert head.parameters() == sum(int((m != 0).sum()) for m in head.weights.matrices) + 3


@settings(max_examples=30)
@given(st.data())
def test_connections_that_are_off_stay_exactly_zero(data):
    spec = HeadSpec(
        4, tuple(data.draw(st.lists(st.integers(1, 4), max_size=2))), 3, hidden_bias=data.draw(st.booleans())
    )
    matrix = data.draw(st.integers(0, len(spec.hidden)))
    masks = random_connections(spec, 3, matrix, data.draw(st.floats(0, 1)), data.draw(st.integers(0, 99)))
    training = Training(
        epochs=data.draw(st.integers(0, 4)),
        batch_size=9,
        learning_rate=data.draw(st.sampled_from([0.02, 0.5])),
        momentum=data.draw(st.sampled_from([0.0, 0.9])),
        nesterov=data.draw(st.booleans()),
        weight_decay=data.draw(st.sampled_from([0.0, 0.1])),
        patience=data.draw(st.sampled_from([None, 1])),
        restore_best=data.draw(st.booleans()),
    )
    for strategy in ("loop", "stacked"):
        for head, candidate in zip(fit(spec, masks, training, strategy), masks, strict=True):
            assert (head.weights.matrices[matrix][~candidate.on] == 0).all()
            assert head.removed == int((~candidate.on).sum())


def test_a_neuron_without_connections_equals_a_pruned_neuron():
    """EvoPruneDeepTL's neurons are columns of the matrix of connections (its section "Encoding strategy")."""
    spec, training = HeadSpec(6, (5,), 3), Training(epochs=5, batch_size=8)
    (units,) = random_masks(spec, 1, 0.5, seed=1)
    units = (torch.ones(6, dtype=torch.bool), units[1])
    edges = Connections(spec, 0, units[1].expand(6, 5).clone())
    for strategy in ("loop", "stacked"):
        a, b = fit(spec, [units, edges], training, strategy)
        x = blobs(spec).features
        assert torch.allclose(a.logits(x), b.logits(x), rtol=0, atol=1e-6)


def test_connections_that_do_not_fit_are_refused():
    spec, on = HeadSpec(4, (3,), 2), torch.ones(4, 3, dtype=torch.bool)
    with pytest.raises(UsageError, match="no matrix 2"):
        Connections(spec, 2, on)
    with pytest.raises(UsageError, match=r"\(3, 2\), not torch.bool of \(4, 3\)"):
        Connections(spec, 1, on)
    with pytest.raises(UsageError, match=r"not torch\.float32"):
        Connections(spec, 0, on.float())
    with pytest.raises(UsageError, match="connections of HeadSpec"):
        fit(HeadSpec(4, (3,), 5), [Connections(spec, 0, on)], Training(), "loop")


def test_a_worker_holds_the_masks_of_one_candidate():
    """A sequence that makes masks on demand: what was made for one candidate is gone before another's is made."""
    spec, made, most = HeadSpec(60, (1000,), 3), [], []

    class Lazy(list):
        def __getitem__(self, index):
            assert isinstance(index, int)
            known = super().__getitem__(index)
            masks = Connections(known.spec, known.matrix, known.on.clone())
            made.append(weakref.ref(masks.on))
            most.append(sum(each() is not None for each in made))
            return masks

    masks = Lazy(random_connections(spec, 5))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        fitted = fit_heads(
            spec, masks, blobs(spec), initial_weights(spec, 1), Training(epochs=1), then=lambda _: None, seed=0,
            strategy="loop",
        )  # fmt: skip
        list(fitted)
    finally:
        torch.set_num_threads(threads)
    assert len(most) >= 5
    assert max(most) == 1


@pytest.mark.parametrize("strategy", ["loop", "stacked"])
def test_without_epochs_a_head_is_cut_out_of_the_start_weights_and_nothing_is_trained(strategy, monkeypatch):
    spec = HeadSpec(6, (5, 4), 3, hidden_bias=True)
    masks = [*random_masks(spec, 3), *random_connections(spec, 2, 1)]
    for module in (population_heads._loop, population_heads._stacked):
        monkeypatch.setattr(module, "fit", None)
    monkeypatch.setattr(Training, "batches", None)
    start = initial_weights(spec, 1)
    for head, candidate in zip(fit(spec, masks, Training(epochs=0), strategy), masks, strict=True):
        compact = start.compact(candidate)
        assert all(torch.equal(a, b) for a, b in zip(head.weights.matrices, compact.matrices, strict=True))
        assert (head.epochs, head.failed) == (0, False)
