import json

import numpy as np
import pytest
import torch

from analysis.ensembles import (
    HeadVote,
    SoftVote,
    ensemble_network,
    load_ensemble,
    save_ensemble,
    soft_vote,
    uniform_soup,
)
from moprune.errors import UsageError
from moprune.networks import FeatureExtractor
from problems.pruning import PruningProblem


def backbone():
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 12), torch.nn.ReLU(), torch.nn.Linear(12, 5))


@pytest.fixture(scope="module", params=[None, "1"])
def members(request, pool, problem, tmp_path_factory):
    """Members that vote twice among them; features at the classifier's input or the output of a named module."""
    if request.param is None:
        return pool.subset([1, 4, 1, 6, 4, 1])
    named = PruningProblem(
        problem.task, FeatureExtractor(problem.extractor.network, features=request.param), hidden=[8],
        encoding="units", training=problem.training, seed=3, device="cpu", cache=tmp_path_factory.mktemp("named"),
    )  # fmt: skip
    from analysis.members import predict

    return predict(named, ["a", "b", "c"], pool.genomes[:3]).subset([0, 1, 2, 2])


def images(members):
    inputs = members.problem.task.test.inputs
    return torch.stack([members.problem.extractor.preprocess(inputs[i]) for i in range(len(inputs))])


def test_the_network_is_the_members_vote(members):
    network = ensemble_network(members)
    log_probabilities = network(images(members))
    torch.testing.assert_close(log_probabilities, soft_vote(members.logits("test")), atol=1e-5, rtol=1e-5)
    whole = SoftVote([members.problem.network(genome) for genome in members.genomes])
    torch.testing.assert_close(log_probabilities, whole(images(members)), atol=1e-5, rtol=1e-5)


def test_the_backbone_is_there_once_and_runs_once(members):
    network = ensemble_network(members)
    first = [module for module in network.modules() if isinstance(module, torch.nn.Linear) and module.in_features == 16]
    assert len(first) == 1
    calls = []
    first[0].register_forward_hook(lambda *_: calls.append(1))
    network(images(members)[:2])
    assert calls == [1]
    vote = next(module for module in network.modules() if isinstance(module, HeadVote))
    assert len(vote.heads) == len(set(members.solutions))


def test_it_is_loaded_again_onto_other_weights(members, tmp_path):
    network = save_ensemble(members, tmp_path / "deep" / "folder", {"seed": 3})
    again = load_ensemble(tmp_path / "deep" / "folder", backbone())
    torch.testing.assert_close(again(images(members)), network(images(members)), rtol=0, atol=0)
    assert {path.name for path in (tmp_path / "deep/folder").iterdir()} == {"ensemble.safetensors", "ensemble.json"}
    description = json.loads((tmp_path / "deep/folder/ensemble.json").read_text())
    assert sum(member["votes"] for member in description["members"]) == len(members)
    assert description["seed"] == 3


def test_a_head_with_nothing_left_is_exported_too(problem, pool, tmp_path):
    nothing = type(pool)(problem, ("none",), np.zeros((1, problem.n_var), dtype=bool), {})
    network = save_ensemble(nothing, tmp_path)
    x = torch.rand(3, 1, 4, 4)
    torch.testing.assert_close(load_ensemble(str(tmp_path), backbone())(x), network(x), rtol=0, atol=0)


def test_what_cannot_be_loaded_is_said(pool, tmp_path):
    with pytest.raises(UsageError, match="no ensemble"):
        load_ensemble(tmp_path, backbone())
    save_ensemble(pool.subset([0]), tmp_path)
    with pytest.raises(UsageError, match="do not fit"):
        load_ensemble(tmp_path, torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3)))
    description = json.loads((tmp_path / "ensemble.json").read_text())
    for broken, said in (({**description, "format": 2}, "later version"), ({"format": 1}, "export it again")):
        (tmp_path / "ensemble.json").write_text(json.dumps(broken))
        with pytest.raises(UsageError, match=said):
            load_ensemble(tmp_path, backbone())


def test_problems_without_a_backbone_vote_as_whole_networks(invented, tmp_path):
    class Other:
        def network(self, genome):
            layer = torch.nn.Linear(6, 3, bias=False)
            layer.weight = torch.nn.Parameter(torch.ones(3, 6) * torch.tensor(genome) * torch.arange(3.0)[:, None])
            return layer

    members = invented(problem=Other())
    network = ensemble_network(members)
    x = torch.rand(4, 6)
    torch.testing.assert_close(network(x), soft_vote([Other().network(g)(x) for g in members.genomes]))
    with pytest.raises(UsageError, match="one by one"):
        save_ensemble(members, tmp_path)


def test_a_head_vote_weighs_its_heads():
    heads = [torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)]
    x = torch.rand(5, 3)
    torch.testing.assert_close(HeadVote(heads, [2, 1])(x), SoftVote([heads[0], heads[0], heads[1]])(x))
    for shares in ([1], [1, 0]):
        with pytest.raises(UsageError, match="positive shares"):
            HeadVote(heads, shares)
    with pytest.raises(UsageError, match="at least one"):
        HeadVote([])


def test_a_soup_of_the_same_head_is_the_head(problem, pool):
    genomes = pool.genomes[[2, 2, 2]]
    heads = problem.heads(genomes)
    features = torch.rand(9, problem.spec.features)
    torch.testing.assert_close(uniform_soup(heads, genomes).logits(features), heads[0].logits(features))


def test_a_soup_is_the_mean_of_the_weights(problem):
    genomes = np.ones((2, problem.n_var), dtype=bool)
    heads = [each.heads(genomes[:1])[0] for each in (problem, problem.reseeded(8))]
    soup = uniform_soup(heads, genomes)
    for i, matrix in enumerate(soup.weights.matrices):
        torch.testing.assert_close(matrix, (heads[0].weights.matrices[i] + heads[1].weights.matrices[i]) / 2)


def test_heads_of_different_units_make_no_soup(problem, pool):
    with pytest.raises(UsageError, match="let them vote"):
        uniform_soup(problem.heads(pool.genomes[:2]), pool.genomes[:2])
    with pytest.raises(UsageError, match="at least one"):
        uniform_soup([], pool.genomes[:0])
