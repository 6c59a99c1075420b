import copy
import math
import threading
import weakref

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call

from moprune.data.inputs import TensorInputs
from moprune.errors import UsageError
from moprune.metrics import error, nll
from moprune.networks import DigitsNet, Preprocess, cifar_resnet
from moprune.networks.selection import norm_statistics, select, state_of
from moprune.networks.suffix import Suffix
from moprune.population.batches import batches, preprocessed
from moprune.population.weights import nll_per_image, score_states, wrong_per_image
from moprune.seeding import torch_generator

N, CLASSES = 61, 4
FLOAT = 1e-4  # what another layout or batch size may change of a logit of order one


def data(n=N, shape=(1, 8, 8), seed=0):
    images = torch.rand(n, *shape, generator=torch_generator(seed, "test images"))
    return TensorInputs(images), torch.randint(CLASSES, (n,), generator=torch_generator(seed, "test labels"))


def network(seed=0):
    """A small network whose running statistics are not the initial ones."""
    net = DigitsNet(CLASSES, width=4, seed=seed)
    net.train()
    with torch.no_grad():
        for _ in range(20):
            net(data()[0].tensor)
    return net.eval().requires_grad_(False)


def perturbed(net, names, seed, size=0.1):
    generator = torch_generator(seed, "perturbation")
    state = state_of(net, names)
    return {k: v + size * v.std(correction=0) * torch.randn(v.shape, generator=generator) for k, v in state.items()}


def loaded(net, state):
    """The naive way: a copy of the network with the tensors put in by hand."""
    twin = copy.deepcopy(net)
    _missing, unexpected = twin.load_state_dict(state, strict=False)
    assert not unexpected
    return twin


@pytest.fixture(scope="module")
def net():
    return network()


PARTS = {"all": ["all"], "last": ["conv3", "bn3", "linear"], "head": ["head"], "norms": ["norms"]}


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("hardest", [None, nll_per_image])
def test_logits_and_losses_are_those_of_the_loaded_network(net, part, hardest):
    names = select(net, PARTS[part])
    suffix, (inputs, labels) = Suffix(net, names), data()
    ready = batches(suffix, inputs, labels, Preprocess(), 16, hardest_first=hardest)
    states = [state_of(net, names), *(perturbed(net, names, seed) for seed in range(4))]
    for measure, metric in ((nll_per_image, nll), (wrong_per_image, error)):
        for state, scored in zip(states, score_states(suffix, states, ready, per_image=measure), strict=True):
            with torch.no_grad():
                expected = loaded(net, state)(inputs.tensor)
            assert scored.logits.dtype == torch.float32
            assert torch.allclose(scored.logits, expected, atol=FLOAT, rtol=0)
            assert scored.total == pytest.approx(metric(scored.logits, labels), rel=1e-12)
            assert scored.images == N


def test_measures_by_hand():
    logits, labels = torch.tensor([[0.0, math.log(3)], [2.0, 2.0], [2.0, 2.0]]), torch.tensor([0, 0, 1])
    assert nll_per_image(logits, labels).tolist() == pytest.approx([math.log(4), math.log(2), math.log(2)], rel=1e-7)
    assert wrong_per_image(logits, labels).tolist() == [1, 0, 1]
    assert nll_per_image(logits, labels).dtype == wrong_per_image(logits, labels).dtype == torch.float64


def test_loss_is_in_double_precision():
    # In float32 all of these are exactly zero; a float32 loss would make them equal.
    terms = nll_per_image(torch.tensor([[0.0, -20.0], [0.0, -30.0]]), torch.tensor([0, 0]))
    assert terms.tolist() == pytest.approx([math.log1p(math.exp(-20)), math.log1p(math.exp(-30))], rel=1e-6)


@pytest.fixture(scope="module")
def candidates(net):
    names = select(net, ["all"])
    suffix, (inputs, labels) = Suffix(net, names), data()
    ready = batches(suffix, inputs, labels, Preprocess(), 7, hardest_first=nll_per_image)
    states = [perturbed(net, names, seed, size=0.4) for seed in range(6)]
    return suffix, states, ready


@pytest.mark.parametrize("measure", [nll_per_image, wrong_per_image])
@settings(max_examples=15)
@given(shares=st.lists(st.floats(0, 2) | st.just(1.0), min_size=6, max_size=6))
def test_decisions_are_those_without_rejection(candidates, measure, shares):
    suffix, states, ready = candidates
    full = list(score_states(suffix, states, ready, per_image=measure))
    bounds = [scored.total * share for scored, share in zip(full, shares, strict=True)]
    some = score_states(suffix, states, ready, per_image=measure, bounds=bounds)
    for scored, whole, bound in zip(some, full, bounds, strict=True):
        assert (scored.total <= bound) == (whole.total <= bound)
        if scored.logits is None:
            assert bound < scored.total <= whole.total
            assert scored.images < N
            assert scored.images % 7 == 0
        else:
            assert scored.total == whole.total
            assert torch.equal(scored.logits, whole.logits)


def test_a_bound_equal_to_its_own_value_or_within_rounding_drops_nothing(candidates):
    suffix, states, ready = candidates
    values = [scored.total for scored in score_states(suffix, states, ready, per_image=nll_per_image)]
    for bounds in (values, [np.nextafter(value, 0) for value in values]):
        again = score_states(suffix, states, ready, per_image=nll_per_image, bounds=bounds)
        assert [scored.total for scored in again if scored.logits is not None] == values


def test_a_dropped_candidate_stops_at_the_first_batch_that_is_enough():
    net, labels = nn.Sequential(nn.Linear(1, 2, bias=False)), torch.tensor([0, 1, 0, 1, 0, 1])
    suffix = Suffix(net, ["0.weight"])
    state = {"0.weight": torch.tensor([[1.0], [0.0]])}  # always says class 0: every second image is wrong
    ready = batches(suffix, TensorInputs(torch.ones(6, 1)), labels, lambda item: item, 2)
    images = []
    for bound in (-0.1, 0.0, 1 / 6, 0.2, 2 / 6, 0.4, 0.5, None):
        (scored,) = score_states(suffix, [state], ready, per_image=wrong_per_image, bounds=[bound])
        images.append(scored.images)
    assert images == [0, 2, 4, 4, 6, 6, 6, 6]


def test_hardest_first_needs_fewer_images(net):
    names = select(net, ["all"])
    suffix, (inputs, labels) = Suffix(net, names), data(200)
    with torch.no_grad():
        labels = torch.where(torch.arange(200) % 5 > 0, net(inputs.tensor).argmax(1), labels)  # mostly right
    states = [perturbed(net, names, seed, size=0.4) for seed in range(6)]
    spent = {}
    for hardest in (None, nll_per_image):
        ready = batches(suffix, inputs, labels, Preprocess(), 10, hardest_first=hardest)
        (start,) = score_states(suffix, [{}], ready, per_image=nll_per_image)
        scored = score_states(suffix, states, ready, per_image=nll_per_image, bounds=[start.total] * 6)
        spent[hardest] = [each.images for each in scored]
    assert sum(spent[nll_per_image]) < sum(spent[None])


def test_images_come_hardest_first_and_go_out_in_order(net):
    suffix, (inputs, labels) = Suffix(net, select(net, ["all"])), data()
    ready = batches(suffix, inputs, labels, Preprocess(), 16, hardest_first=nll_per_image)
    with torch.no_grad():
        terms = nll_per_image(net(inputs.tensor), labels)[ready.order]
    assert sorted(ready.order.tolist()) == list(range(N))
    assert bool((terms.diff() <= FLOAT).all())
    assert torch.equal(torch.cat(ready.labels), labels[ready.order])
    assert ready.in_order(ready.order).tolist() == list(range(N))
    assert ready.images == N


def test_results_do_not_depend_on_company_or_threads(candidates):
    suffix, states, ready = candidates
    threads = torch.get_num_threads()
    found = []
    try:
        for number, order in ((1, range(6)), (3, range(6)), (3, [5, 3, 1, 0, 2, 4])):
            torch.set_num_threads(number)
            scored = list(score_states(suffix, [states[i] for i in order], ready, per_image=nll_per_image))
            found.append([scored[list(order).index(i)] for i in range(6)])
    finally:
        torch.set_num_threads(threads)
    for other in found[1:]:
        assert [each.total for each in other] == [each.total for each in found[0]]
        assert all(torch.equal(a.logits, b.logits) for a, b in zip(other, found[0], strict=True))


@pytest.mark.parametrize("size", [1, 5, 60, 61, 500])
def test_batch_size_changes_rounding_only(candidates, net, size):
    suffix, states, ready = candidates
    other = batches(suffix, *data(), Preprocess(), size)
    for a, b in zip(
        score_states(suffix, states, ready, per_image=nll_per_image),
        score_states(suffix, states, other, per_image=nll_per_image),
        strict=True,
    ):
        assert torch.allclose(a.logits, b.logits, atol=FLOAT, rtol=0)
        assert a.total == pytest.approx(b.total, abs=FLOAT)


def test_a_residual_network_and_the_network_is_left_as_it_was():
    net = cifar_resnet(20, CLASSES, seed=1)  # in training mode
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    inputs, labels = data(9, (3, 12, 12))
    names = select(net, ["layer3"])
    suffix = Suffix(net, [*names, *norm_statistics(net)])
    ready = batches(suffix, inputs, labels, Preprocess(), 4)
    state = perturbed(net, names, 0)
    calibration = batches(suffix, *data(8, (3, 12, 12), seed=2), Preprocess(), 4)
    plain, tuned = (next(score_states(suffix, [state], ready, calibration=c)) for c in (None, calibration))
    assert all(module.training and not module._forward_pre_hooks for module in net.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    with torch.no_grad():
        expected = functional_call(net.eval(), state, (inputs.tensor,))
    assert torch.allclose(plain.logits, expected, atol=FLOAT * float(expected.abs().max()), rtol=0)
    assert not torch.allclose(plain.logits, tuned.logits, atol=0.01)


@pytest.mark.parametrize("sizes", [(10, 30), (7, 20)])  # three equal batches; 7, 7 and 6
def test_statistics_are_those_of_a_training_pass_without_momentum(net, sizes):
    size, n = sizes
    names = select(net, ["conv1", "bn2", "linear"])
    suffix = Suffix(net, [*names, *norm_statistics(net)])
    inputs, labels = data()
    others = data(n, seed=3)
    ready, calibration = (batches(suffix, *pair, Preprocess(), size) for pair in ((inputs, labels), others))
    states = [perturbed(net, names, seed) for seed in range(3)]
    for state, scored in zip(
        states, score_states(suffix, states, ready, per_image=nll_per_image, calibration=calibration), strict=True
    ):
        twin = loaded(net, state)
        for module in twin.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.reset_running_stats()
                module.momentum = None
        with torch.no_grad():
            for batch in others[0].tensor.split(size):
                twin.train()(batch)
            expected = twin.eval()(inputs.tensor)
        assert torch.allclose(scored.logits, expected, atol=FLOAT, rtol=0)
        assert scored.total == pytest.approx(nll(expected, labels), abs=FLOAT)
        assert scored.images == N + n


def test_only_named_statistics_are_estimated_anew(net):
    names = select(net, ["linear"])
    suffix = Suffix(net, [*names, "bn3.running_mean", "bn3.running_var"])
    inputs, labels = data()
    ready, calibration = (
        batches(suffix, inputs, labels, Preprocess(), 16),
        batches(suffix, *data(20, seed=3), Preprocess(), 20),
    )
    (scored,) = score_states(suffix, [{}], ready, calibration=calibration)
    twin = copy.deepcopy(net)
    twin.bn3.momentum = 1.0
    twin.bn3.train()
    with torch.no_grad():
        twin(data(20, seed=3)[0].tensor)
        expected = twin.eval()(inputs.tensor)
    assert torch.allclose(scored.logits, expected, atol=FLOAT, rtol=0)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_low_precision_is_near_and_comes_as_float32(candidates, precision):
    suffix, states, ready = candidates
    exact = list(score_states(suffix, states, ready, per_image=nll_per_image))
    rough = list(score_states(suffix, states, ready, per_image=nll_per_image, precision=precision))
    for a, b in zip(exact, rough, strict=True):
        assert b.logits.dtype == torch.float32
        assert not torch.equal(a.logits, b.logits)
        assert torch.allclose(a.logits, b.logits, atol=0.05 * float(a.logits.abs().max()), rtol=0)


def test_states_are_taken_as_they_are_wanted_and_let_go(candidates):
    suffix, states, ready = candidates
    alive, most = weakref.WeakSet(), 0

    def made():
        nonlocal most
        for _ in range(40):
            state = {"linear.weight": states[0]["linear.weight"].clone()}
            alive.add(state["linear.weight"])
            most = max(most, len(alive))
            yield state

    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert len(list(score_states(suffix, made(), ready))) == 40
    finally:
        torch.set_num_threads(threads)
    assert most <= 2 * 2 + 2 + 1  # taken ahead, being scored, being made


def test_a_replica_has_modules_of_its_own_around_the_same_tensors(net):
    names = select(net, ["conv3", "linear"])
    suffix = Suffix(net, names)
    x = data()[0].tensor
    frontier = suffix.frontier(x)
    twin, state = suffix.replica(), perturbed(net, names, 0)
    assert twin.cached
    assert twin.network is not net
    assert all(a is b for a, b in zip(twin.network.parameters(), net.parameters(), strict=True))
    assert not set(twin.network.modules()) & set(net.modules())
    with torch.no_grad():
        assert torch.equal(twin(frontier, state), suffix(frontier, state))


def test_a_lent_replica_is_nobody_elses_and_is_kept_for_the_next(net):
    suffix = Suffix(net, select(net, ["linear"]))
    with suffix.lent() as first, suffix.lent() as second:
        assert first is not second
        assert suffix not in (first, second)
    with suffix.lent() as third, suffix.lent() as fourth:
        assert {id(third), id(fourth)} == {id(first), id(second)}
    twin = first.replica()
    with twin.lent() as other:
        assert other not in (first, second, twin)


def test_closing_early_ends_the_threads(candidates):
    suffix, states, ready = candidates
    scored = score_states(suffix, states * 50, ready)
    next(scored)
    scored.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("moprune")]


def test_without_a_measure_there_is_no_total(candidates):
    suffix, states, ready = candidates
    (scored,) = score_states(suffix, states[:1], ready)
    assert math.isnan(scored.total)
    assert scored.logits.shape == (N, CLASSES)
    assert list(score_states(suffix, [], ready)) == []


def test_a_diverged_candidate_is_not_dropped(candidates):
    suffix, states, ready = candidates
    wild = {name: tensor * math.nan for name, tensor in states[0].items()}
    (scored,) = score_states(suffix, [wild], ready, per_image=nll_per_image, bounds=[0.0])
    assert math.isnan(scored.total)
    assert scored.logits is not None


def test_weights_of_images_give_a_macro_error(net):
    suffix, (inputs, labels) = Suffix(net, select(net, ["all"])), data()
    shares = N / (CLASSES * torch.bincount(labels).double())

    def macro(logits, truth):
        return wrong_per_image(logits, truth) * shares[truth]

    ready = batches(suffix, inputs, labels, Preprocess(), 16)
    (scored,) = score_states(suffix, [{}], ready, per_image=macro)
    wrong = (scored.logits.argmax(1) != labels).double()
    assert scored.total == pytest.approx(np.mean([float(wrong[labels == c].mean()) for c in range(CLASSES)]))


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(9, 5)
        self.lstm = nn.LSTM(5, 6, batch_first=True)
        self.linear = nn.Linear(6, CLASSES)

    def forward(self, x):
        return self.linear(self.lstm(self.embedding(x))[0][:, -1])


@pytest.mark.parametrize("part", ["all", "head"])
def test_word_numbers_and_a_recurrent_network(part):
    net = Words().eval()
    words = torch.randint(9, (10, 7), generator=torch_generator(0, "words"))
    names = select(net, [part])
    suffix = Suffix(net, names)
    ready = batches(suffix, TensorInputs(words), torch.arange(10) % CLASSES, lambda item: item, 4)
    state = perturbed(net, names, 0)
    (scored,) = score_states(suffix, [state], ready)
    with torch.no_grad():
        assert torch.allclose(scored.logits, loaded(net, state)(words), atol=1e-6)


def test_head_only_keeps_features_not_images(net):
    suffix = Suffix(net, select(net, ["head"]))
    ready = batches(suffix, *data(), Preprocess(), 16)
    assert suffix.cached
    assert [tuple(t.shape) for t in ready.frontiers[0]] == [(16, net.linear.in_features)]


def test_preprocessing_is_done_on_each_item():
    raw = torch.randint(256, (5, 3, 6, 6), generator=torch_generator(0, "pixels")).to(torch.uint8)
    shown = preprocessed(TensorInputs(raw), Preprocess(mean=(0.5,), std=(0.25,)))
    assert torch.allclose(shown, (raw.float() / 255 - 0.5) / 0.25)


def _ready(net):
    suffix = Suffix(net, select(net, ["head"]))
    return suffix, batches(suffix, *data(), Preprocess(), 60)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"bounds": [1.0]}, "per_image"),
        ({"bounds": [], "per_image": nll_per_image}, "0 bounds for more"),
        ({"bounds": [1.0, None], "per_image": nll_per_image}, "2 bounds for 1"),
        ({"per_image": lambda logits, labels: -nll_per_image(logits, labels)}, ">= 0"),
        ({"precision": "float64"}, "float64"),
    ],
)
def test_bad_requests(net, arguments, message):
    suffix, ready = _ready(net)
    with pytest.raises(UsageError, match=message):
        list(score_states(suffix, [{}], ready, **arguments))


def test_bad_states_and_calibration(net):
    suffix, ready = _ready(net)
    with pytest.raises(UsageError, match="conv1"):
        list(score_states(suffix, [state_of(net, ["conv1.weight"])], ready))
    with pytest.raises(UsageError, match="norm_statistics"):
        list(score_states(suffix, [{}], ready, calibration=ready))
    anew = Suffix(net, norm_statistics(net))
    with pytest.raises(UsageError, match="one image has no variance"):  # 61 images in batches of 60
        list(score_states(anew, [{}], ready, calibration=batches(anew, *data(), Preprocess(), 60)))


@pytest.mark.parametrize(
    ("inputs", "labels", "size", "message"),
    [
        (torch.rand(3, 1, 8, 8), torch.zeros(2), 4, "3 images have 2 labels"),
        (torch.rand(0, 1, 8, 8), torch.zeros(0), 4, "0 images"),
        (torch.rand(3, 1, 8, 8), torch.zeros(3), 0, "batch_size is 0"),
        (torch.rand(3, 2, 8, 8), torch.zeros(3), 4, "fails on images"),
    ],
)
@pytest.mark.parametrize("hardest", [None, nll_per_image])
def test_bad_images(net, inputs, labels, size, message, hardest):
    with pytest.raises(UsageError, match=message):
        batches(Suffix(net, ["conv1.weight"]), TensorInputs(inputs), labels, Preprocess(), size, hardest_first=hardest)


class Mixed:
    def __init__(self, *items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]


def test_images_of_different_sizes(net):
    mixed = Mixed(torch.rand(1, 8, 8), torch.rand(1, 8, 9))
    with pytest.raises(UsageError, match="item 1 is"):
        batches(Suffix(net, ["conv1.weight"]), mixed, torch.zeros(2), Preprocess(), 2)


def test_a_network_that_is_no_classifier():
    with pytest.raises(UsageError, match="logits"):
        batches(Suffix(nn.Conv2d(1, 2, 1), ["weight"]), *data(3), Preprocess(), 2)
