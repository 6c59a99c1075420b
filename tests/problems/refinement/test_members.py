"""Members against runs made one by one, and what is kept of them; basins against networks made to share none."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional

from moprune.data import Task
from moprune.errors import UsageError
from moprune.networks import Preprocess
from moprune.population.finetuning import Recipe, finetune
from moprune.seeding import derive
from problems.refinement.members import (
    Basin,
    Members,
    averaged,
    basin,
    finetuned,
    last_checkpoints,
    stacked,
    with_state,
)

RECIPES = [Recipe(0.02, epochs=2, batch_size=20), Recipe(0.05, epochs=1, batch_size=20)]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MOPRUNE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def task():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(120) % 3
    images = torch.rand(120, 1, 4, 4, generator=generator)
    images[:, 0, 0, :3] += functional.one_hot(labels, 3)
    return Task.from_tensors(images, labels)


@pytest.fixture
def network():
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 3))
    generator = torch.Generator().manual_seed(1)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.4, generator=generator)
    return network.requires_grad_(False).eval()


def same(first, second):
    return len(first) == len(second) and all(
        a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
        for a, b in zip(first, second, strict=True)
    )


def test_each_member_is_one_run_of_its_recipe(task, network):
    halves = Preprocess(mean=(0.5,), std=(0.5,))
    members = finetuned(network, task, RECIPES, preprocess=halves, seed=3)
    inputs, labels = stacked(task.train, halves)
    assert torch.equal(inputs, torch.stack([(task.train.inputs[i] - 0.5) / 0.5 for i in range(len(labels))]))
    expected = [finetune(network, inputs, labels, r, seed=derive(3, "member", repr(r)))[0] for r in RECIPES]
    assert same(members.states, expected)
    assert members.recipes == tuple(RECIPES)
    assert members.names == ("member 1", "member 2")
    assert members.images == 3 * len(labels) * 3


def test_a_member_does_not_depend_on_the_others(task, network):
    both = finetuned(network, task, RECIPES, seed=3)
    alone = finetuned(network, task, RECIPES[1:], seed=3, cache=None)
    assert same(both.states[1:], alone.states)


def test_members_are_kept_and_made_again_only_where_something_differs(task, network, tmp_path):
    folder = tmp_path / "kept"

    def files():
        return set(folder.glob("*.safetensors"))

    def make(network=network, task=task, recipes=tuple(RECIPES[:1]), seed=3, **options):
        return finetuned(network, task, recipes, seed=seed, cache=folder, **options).states

    first = make()
    (path,) = files()
    written = path.stat().st_mtime_ns
    assert same(make(), first)
    assert same(make(device="cpu"), first)
    assert len(files()) == 1
    assert path.stat().st_mtime_ns == written
    other_network = with_state(network, {"4.bias": torch.ones(3)})
    swapped = replace(task, train=task.search)
    changes = [
        {"seed": 4},
        {"network": other_network},
        {"task": swapped},
        {"recipes": (replace(RECIPES[0], momentum=0.5),)},
        {"preprocess": Preprocess(mean=(0.5,), std=(1.0,))},
        {"trainable": ["4.weight"]},
    ]
    for number, change in enumerate(changes, 2):
        assert not same(make(**change), first)
        assert len(files()) == number


def test_a_damaged_file_is_made_again(task, network, tmp_path):
    first = finetuned(network, task, RECIPES[:1], seed=3, cache=tmp_path)
    (path,) = tmp_path.glob("*.safetensors")
    content = path.read_bytes()
    path.write_bytes(content[:-8] + b"\0" * 8)
    assert same(finetuned(network, task, RECIPES[:1], seed=3, cache=tmp_path).states, first.states)
    assert path.read_bytes() == content


def test_checkpoints_of_one_run(task, network, tmp_path):
    recipe = replace(RECIPES[0], epochs=4, schedule="constant")
    members = last_checkpoints(network, task, recipe, 3, seed=5, cache=tmp_path)
    expected = finetune(network, *stacked(task.train), recipe, seed=derive(5, "member", repr(recipe)), checkpoints=3)
    assert same(members.states, expected)
    assert members.names == ("epoch 2", "epoch 3", "epoch 4")
    assert members.images == 3 * 4 * len(task.train)
    assert same(last_checkpoints(network, task, recipe, 2, seed=5, cache=tmp_path).states, expected[1:])
    assert len(list(tmp_path.iterdir())) == 3


def test_epochs_of_all_runs_are_reported_whether_made_or_found(task, network, tmp_path):
    heard = []

    def hear(done, of):
        heard.append((done, of))

    finetuned(network, task, RECIPES, seed=3, cache=tmp_path, on_epoch=hear)
    assert heard == [(1, 3), (2, 3), (3, 3)]
    heard.clear()
    finetuned(network, task, RECIPES, seed=3, cache=tmp_path, on_epoch=hear)
    assert heard == [(2, 3), (3, 3)]


def test_what_cannot_be_made_is_refused(task, network):
    with pytest.raises(UsageError, match="2 recipes, 1 different"):
        finetuned(network, task, [RECIPES[0]] * 2, seed=0)
    with pytest.raises(UsageError, match="0 recipes"):
        finetuned(network, task, [], seed=0)
    with pytest.raises(UsageError, match="single layer"):
        finetuned(nn.Linear(16, 3), task, RECIPES, seed=0)
    with pytest.raises(UsageError, match="3 checkpoints of 2 epochs"):
        last_checkpoints(network, task, RECIPES[0], 3, seed=0)


def two_layers(order):
    """A network that tells four corners apart, its hidden units in some order: the same function for every order."""
    network = nn.Sequential(nn.Linear(2, 4, bias=False), nn.ReLU(), nn.Linear(4, 4, bias=False))
    corners = torch.tensor([[4.0, 0.0], [-4.0, 0.0], [0.0, 4.0], [0.0, -4.0]])
    return network, {"0.weight": corners[order], "2.weight": 4 * torch.eye(4)[:, order]}


def test_members_in_other_basins_are_found_out_by_their_average():
    inputs = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])

    def losses(candidates):
        return [
            float(functional.cross_entropy(functional_call(network, state, (inputs,)), torch.arange(4)))
            for (state,) in candidates
        ]

    recipes = (Recipe(), Recipe(0.02))
    network, state = two_layers([0, 1, 2, 3])
    _, moved = two_layers([1, 2, 3, 0])
    apart = basin(network, Members((state, moved), recipes, ("a", "b"), 0), losses)
    assert apart.members[0] == pytest.approx(apart.members[1])
    assert not apart.shared
    assert "do not share a basin" in apart.sentence
    assert "use smaller learning rates" in apart.sentence
    near = {name: 1.1 * tensor for name, tensor in state.items()}
    together = basin(network, Members((state, near), recipes, ("a", "b"), 0), losses)
    assert together.shared
    assert together.average == pytest.approx(losses([({n: 1.05 * t for n, t in state.items()},)])[0])
    assert together.sentence.startswith("members share a basin")
    with pytest.raises(UsageError, match="give two or more"):
        basin(network, Members((state,), recipes[:1], ("a",), 0), losses)


def test_an_average_as_bad_as_the_worst_member_still_shares_the_basin():
    assert Basin(2.0, (1.0, 2.0)).shared
    assert not Basin(2.0000001, (1.0, 2.0)).shared
    assert not Basin(float("nan"), (1.0, 2.0)).shared


def test_an_average_is_the_mean_with_the_networks_own_where_a_state_is_silent(network):
    half = averaged(network, [{"4.bias": torch.ones(3)}, {}])
    assert half.keys() == {"4.bias"}
    torch.testing.assert_close(half["4.bias"], (network[4].bias.detach() + 1) / 2)
