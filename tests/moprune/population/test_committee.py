"""Committees, against their members trained alone, and against autograd written out for several losses at once."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from moprune.errors import UsageError
from moprune.networks.heads import ACTIVATIONS, Connections, HeadSpec, initial_weights
from moprune.population import Committee, Training, TrainingSet, fit_heads
from moprune.population.heads import choose_strategy

SPECS = [
    HeadSpec(11, (), 3),
    HeadSpec(11, (9,), 3),
    HeadSpec(11, (9, 7), 3, "tanh", hidden_bias=True),
    HeadSpec(11, (9, 7), 4, "sigmoid"),
]
TRAININGS = [
    Training(epochs=4, batch_size=16, learning_rate=0.1),
    Training(epochs=4, batch_size=7, learning_rate=0.1, momentum=0.0, weight_decay=0.0),
    Training(epochs=3, batch_size=100, learning_rate=0.1, nesterov=False, decay=0.05, weight_decay=0.2),
    Training(epochs=0),
]
STOPPING = [
    Training(epochs=25, batch_size=8, learning_rate=0.5, patience=1, min_delta=0.01),
    Training(epochs=25, batch_size=8, learning_rate=0.5, patience=2, min_delta=0.01, restore_best=True),
    Training(epochs=6, batch_size=8, learning_rate=0.8, momentum=0.0, restore_best=True),
]


def blobs(spec, images=40, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(images) % spec.classes
    centres = torch.randn(spec.classes, spec.features, generator=generator)
    return TrainingSet(centres[labels] + torch.randn(images, spec.features, generator=generator), labels)


def random_masks(spec, count, density=0.6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [tuple(torch.rand(w, generator=generator) < density for w in spec.units) for _ in range(count)]


def all_kinds_of_masks(spec):
    """Of all units, none, one feature, fewer features than members, no neurons, and random ones."""
    off = tuple(torch.zeros(w, dtype=torch.bool) for w in spec.units)
    few = [(torch.arange(spec.features) < n, *spec.all_on()[1:]) for n in (1, 2)]
    return [spec.all_on(), off, *few, (spec.all_on()[0], *off[1:]), *random_masks(spec, 3)]


def fit(spec, masks, training, committee=None, data=None, seed=3, **options):
    data, start = data or blobs(spec), initial_weights(spec, 1)
    return list(
        fit_heads(spec, masks, data, start, training, then=lambda h: h, seed=seed, committee=committee, **options)
    )


def member_masks(spec, dealt):
    """The masks of each member as a head of its own."""
    return [tuple(places_on(units, width) for units, width in zip(each, spec.units, strict=True)) for each in dealt]


def places_on(units, width):
    mask = torch.zeros(width, dtype=torch.bool)
    mask[units] = True
    return mask


def tensors(head):
    return [*head.weights.matrices, *(b for b in head.weights.biases if b is not None)]


def same(first, second):
    pairs = zip(tensors(first), tensors(second), strict=True)
    return first.epochs == second.epochs and all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("strategy", ["loop", "stacked"])
@pytest.mark.parametrize("training", TRAININGS)
@pytest.mark.parametrize("spec", SPECS)
def test_a_committee_predicts_the_mean_of_its_members_trained_alone(spec, training, strategy):
    data, x = blobs(spec), blobs(spec, seed=5).features
    committee = Committee(4, 2, torch.rand(spec.features, generator=torch.Generator().manual_seed(2)))
    masks = all_kinds_of_masks(spec)
    for own, head in zip(masks, fit(spec, masks, training, committee, data, strategy=strategy), strict=True):
        members = fit(spec, member_masks(spec, committee.deal(own)), training, None, data, strategy="loop")
        expected = torch.stack([member.logits(x) for member in members]).mean(0)
        assert torch.allclose(head.logits(x), expected, rtol=0, atol=2e-5)
        assert torch.allclose(head.module()(x), expected, rtol=0, atol=2e-5)
        assert head.epochs == training.epochs
        assert head.kept.tolist() == own[0].nonzero()[:, 0].tolist()
        assert head.widths == tuple(int(mask.sum()) for mask in own)
        assert not head.failed


def reference(spec, dealt, data, training, seed):
    """Each member by autograd and an optimiser of its own, stopped by the mean of their losses; members and epochs."""
    members, start = [], initial_weights(spec, 1)
    for masks in member_masks(spec, dealt):
        compact, activation = start.compact(masks), ACTIVATIONS[spec.activation]
        layers = [Affine(*each) for each in zip(compact.matrices, compact.biases, strict=True)]
        hidden = [part for layer in layers[:-1] for part in (layer, activation())]
        members.append((masks[0], nn.Sequential(*hidden, layers[-1])))
    nesterov = training.nesterov and training.momentum > 0
    optimisers = [
        torch.optim.SGD(m.parameters(), lr=1, momentum=training.momentum, nesterov=nesterov) for _, m in members
    ]
    x, step, least, waited, epoch = data.features.double(), 0, float("inf"), 0, 0
    best = snapshot(members)
    for epoch in range(1, training.epochs + 1):
        total = 0.0
        for batch in training.batches(len(x), epoch, seed, torch.device("cpu")):
            rate = training.learning_rate / (1 + training.decay * step)
            for (on, member), optimiser in zip(members, optimisers, strict=True):
                loss = nn.functional.cross_entropy(member(x[batch][:, on]), data.labels[batch])
                optimiser.zero_grad()
                loss.backward()
                for layer in member[::2]:
                    layer.matrix.data *= 1 - rate * training.weight_decay
                optimiser.param_groups[0]["lr"] = rate
                optimiser.step()
                total += loss.item() * len(batch) / len(members)
            step += 1
        if total / len(x) < least - training.min_delta:
            least, waited, best = total / len(x), 0, snapshot(members)
        else:
            waited += 1
        if waited == training.patience:
            break
    if training.restore_best:
        for (_, member), state in zip(members, best, strict=True):
            member.load_state_dict(state)
    return lambda x: torch.stack([member(x.double()[:, on]) for on, member in members]).mean(0), epoch


class Affine(nn.Module):
    def __init__(self, matrix, bias):
        super().__init__()
        self.matrix = nn.Parameter(matrix.double())
        self.bias = None if bias is None else nn.Parameter(bias.double())

    def forward(self, x):
        return x @ self.matrix if self.bias is None else x @ self.matrix + self.bias


def snapshot(members):
    return [{name: value.clone() for name, value in member.state_dict().items()} for _, member in members]


@pytest.mark.parametrize("strategy", ["loop", "stacked"])
@pytest.mark.parametrize("training", STOPPING)
@pytest.mark.parametrize("spec", SPECS)
def test_each_committee_stops_by_the_mean_loss_of_its_own_members(spec, training, strategy):
    data, committee, masks = blobs(spec), Committee(3, 2), random_masks(spec, 6, seed=1)
    heads = fit(spec, masks, training, committee, data, strategy=strategy)
    for own, head in zip(masks, heads, strict=True):
        predict, epochs = reference(spec, committee.deal(own), data, training, seed=3)
        assert head.epochs == epochs
        assert torch.allclose(head.logits(data.features).double(), predict(data.features), rtol=0, atol=2e-4)
    if training.patience is not None and spec.activation == "relu":
        assert len({head.epochs for head in heads}) > 1, "the case is too easy: all candidates stopped alike"


def test_the_reference_is_the_members_alone_where_nothing_stops():
    spec, training = SPECS[2], TRAININGS[2]
    data, (masks,), committee = blobs(spec), random_masks(spec, 1), Committee(3, 2)
    predict, _ = reference(spec, committee.deal(masks), data, training, seed=3)
    members = fit(spec, member_masks(spec, committee.deal(masks)), training, None, data, strategy="loop")
    expected = torch.stack([member.logits(data.features) for member in members]).mean(0)
    assert torch.allclose(predict(data.features).float(), expected, rtol=0, atol=2e-5)


@given(st.data())
def test_dealing_is_fair(data):
    spec = HeadSpec(data.draw(st.integers(1, 40)), tuple(data.draw(st.lists(st.integers(1, 30), max_size=2))), 2)
    members = data.draw(st.integers(2, 9))
    readers = data.draw(st.integers(1, members))
    masks = [torch.tensor(data.draw(st.lists(st.booleans(), min_size=w, max_size=w))) for w in spec.units]
    scores = torch.tensor(data.draw(st.lists(st.integers(0, 5), min_size=spec.features, max_size=spec.features)))
    dealt = Committee(members, readers, scores.double()).deal(tuple(masks))
    assert len(dealt) == members
    kept = masks[0].nonzero()[:, 0].tolist()
    hands = [units[0].tolist() for units in dealt]
    assert all(len(set(hand)) == len(hand) for hand in hands), "a member reads a feature twice"
    assert sorted(f for hand in hands for f in hand) == sorted(kept * readers)
    # Of the best k features, whatever k, no member reads more than ``readers`` more than another.
    best = sorted(kept, key=lambda f: (-int(scores[f]), f))
    for k in range(1, len(best) + 1):
        shares = [len(set(hand) & set(best[:k])) for hand in hands]
        assert max(shares) - min(shares) <= readers
        if k % members == 0:
            assert set(shares) == {k // members * readers}
    for layer, width in enumerate(spec.hidden, start=1):
        own = [units[layer].tolist() for units in dealt]
        assert sorted(unit for each in own for unit in each) == masks[layer].nonzero()[:, 0].tolist()
        assert all(len(each) <= -(-width // members) for each in own)
    again = Committee(members, readers, scores.double()).deal(tuple(masks))
    assert all(torch.equal(a, b) for pair in zip(dealt, again, strict=True) for a, b in zip(*pair, strict=True))


def test_without_scores_features_are_dealt_out_in_their_own_order():
    masks = (torch.tensor([True, True, False, True, True, True]), torch.ones(5, dtype=torch.bool))
    dealt = [[units.tolist() for units in member] for member in Committee(2, 1).deal(masks)]
    assert dealt == [[[0, 3, 5], [0, 2, 4]], [[1, 4], [1, 3]]]
    both = [[units.tolist() for units in member] for member in Committee(2, 2).deal(masks)]
    assert [sorted(units[0]) for units in both] == [[0, 1, 3, 4, 5]] * 2


@given(st.integers(0, 999), st.integers(2, 6), st.integers(1, 6), st.booleans())
def test_parameters_are_those_inside_the_members_blocks(seed, members, readers, bias):
    spec = HeadSpec(7, ((), (5,), (6, 4))[seed % 3], 3, hidden_bias=bias)
    committee = Committee(members, min(readers, members))
    masks = random_masks(spec, 4, 0.7, seed=seed)
    for own, head in zip(masks, fit(spec, masks, Training(epochs=1), committee), strict=True):
        dealt, count = committee.deal(own), spec.classes
        for layer, matrix in enumerate(head.weights.matrices):
            rows = own[layer].nonzero()[:, 0].tolist()
            last = layer + 1 == len(own)
            columns = range(spec.classes) if last else own[layer + 1].nonzero()[:, 0].tolist()
            for i, row in enumerate(rows):
                for j, column in enumerate(columns):
                    inside = any(row in units[layer] and (last or column in units[layer + 1]) for units in dealt)
                    count += inside
                    assert inside or float(matrix[i, j]) == 0
            count += 0 if last or not bias else len(columns)
        assert head.parameters() == count


@pytest.mark.parametrize("training", [TRAININGS[0], STOPPING[0], STOPPING[1]])
@pytest.mark.parametrize(
    ("spec", "members", "readers"),
    [
        (HeadSpec(64, (512,), 3), 3, 2),
        (HeadSpec(129, (62, 91), 5), 9, 5),
        (HeadSpec(158, (), 9), 5, 5),
        (HeadSpec(300, (200,), 5), 8, 2),
        (HeadSpec(8, (6,), 3), 8, 2),
    ],
)
def test_a_committee_is_the_same_bit_for_bit_whoever_is_beside_it(spec, members, readers, training):
    training = replace(training, epochs=3)
    masks, committee = random_masks(spec, 18, seed=4), Committee(members, readers)
    whole = fit(spec, masks, training, committee)
    ways = {
        "alone": [fit(spec, [each], training, committee)[0] for each in masks],
        "in chunks": fit(spec, masks, training, committee, chunk=3),
        "turned round": fit(spec, masks[::-1], training, committee)[::-1],
    }
    for how, heads in ways.items():
        assert all(same(a, b) for a, b in zip(whole, heads, strict=True)), how


def test_committees_are_stacked_on_a_gpu_alone():
    spec = HeadSpec(8, (6,), 3)
    assert choose_strategy(spec, torch.device("cpu"), Committee()) == "loop"
    assert choose_strategy(spec, torch.device("cpu")) == "stacked"
    assert choose_strategy(spec, torch.device("cuda"), Committee()) == "stacked"


@pytest.mark.parametrize("training", [TRAININGS[0], *STOPPING])
def test_chunks_of_stacked_committees_do_not_matter(training):
    """As on a GPU: those that stop early must not do so by what others in the stack lose."""
    spec, committee = SPECS[1], Committee(4, 2)
    masks = random_masks(spec, 7)
    alone, stacked, chunks = (
        fit(spec, masks, training, committee, strategy=strategy, chunk=chunk)
        for strategy, chunk in (("loop", None), ("stacked", None), ("stacked", 3))
    )
    for heads in zip(alone, stacked, chunks, strict=True):
        assert len({head.epochs for head in heads}) == 1
        for a, *others in zip(*map(tensors, heads), strict=True):
            assert all(torch.allclose(a, b, rtol=0, atol=1e-5) for b in others)


@pytest.mark.parametrize("strategy", ["loop", "stacked"])
def test_a_diverged_committee_is_marked_and_leaves_the_others_alone(strategy):
    spec, training = HeadSpec(6, (), 2), Training(epochs=5, learning_rate=1.0)
    data, masks = blobs(spec), random_masks(spec, 6, 0.7, seed=1)
    huge = TrainingSet(data.features.clone(), data.labels)
    huge.features[:, 0] = 1e30  # only candidates that keep this feature can diverge
    keeps = [bool(mask[0][0]) for mask in masks]
    assert len(set(keeps)) == 2
    heads = fit(spec, masks, training, Committee(3, 1), huge, strategy=strategy)
    sound = fit(spec, masks, training, Committee(3, 1), data, strategy=strategy)
    assert [head.failed for head in heads] == keeps
    for head, other in zip(heads, sound, strict=True):
        pairs = zip(tensors(head), tensors(other), strict=True)
        assert head.failed or all(torch.allclose(a, b, atol=1e-5) for a, b in pairs)


def test_start_weights_are_left_alone():
    spec = SPECS[2]
    start, again = initial_weights(spec, 1), initial_weights(spec, 1)
    for epochs in (0, 2):
        arguments = (blobs(spec), start, Training(epochs=epochs))
        list(fit_heads(spec, random_masks(spec, 2), *arguments, then=tensors, seed=0, committee=Committee(3, 1)))
    assert all(torch.equal(a, b) for a, b in zip(start.matrices, again.matrices, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(start.biases, again.biases, strict=True))


def test_a_committee_of_readers_of_everything_differs_in_neurons_alone():
    """With a linear head there is nothing to tell members apart: it is then one plain head."""
    spec, training = SPECS[0], TRAININGS[0]
    masks = random_masks(spec, 3)
    for a, b in zip(fit(spec, masks, training, Committee(3, 3)), fit(spec, masks, training), strict=True):
        assert all(torch.allclose(x, y, rtol=0, atol=1e-5) for x, y in zip(tensors(a), tensors(b), strict=True))
        assert a.parameters() == b.parameters()


@pytest.mark.parametrize("numbers", [(1, 1), (0, 1), (4, 0), (4, 5), (-2, 1)])
def test_impossible_committees_are_refused(numbers):
    with pytest.raises(UsageError, match="a committee needs >= 2 members"):
        Committee(*numbers)


def test_what_a_committee_cannot_divide_is_refused():
    spec = SPECS[1]
    edges = Connections(spec, 0, torch.ones(11, 9, dtype=torch.bool))
    with pytest.raises(UsageError, match="connections are pruned in single heads"):
        fit(spec, [edges], TRAININGS[0], Committee(3, 1))
    for scores in (torch.ones(10), torch.ones(11, 1)):
        with pytest.raises(UsageError, match=r"scores of shape .* do not fit 11 features"):
            fit(spec, random_masks(spec, 1), TRAININGS[0], Committee(3, 1, scores))
