"""An ensemble as one network: the frozen backbone once, the heads side by side, mean probabilities out."""

import dataclasses
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from analysis.ensembles.votes import SoftVote
from analysis.members import Members
from moprune.errors import UsageError
from moprune.files import replacing, write_text
from moprune.networks.assembly import with_head
from moprune.networks.features import FeatureExtractor
from moprune.networks.heads import HeadSpec, HeadWeights, TrainedHead
from moprune.networks.preprocess import Preprocess
from moprune.networks.saved import check_size, described_by
from moprune.networks.weights import fill, read_weights
from moprune.problem import Genomes
from problems.pruning import PruningProblem

WEIGHTS, DESCRIPTION = "ensemble.safetensors", "ensemble.json"
_FORMAT = 1


class HeadVote(nn.Module):
    """Heads on the same features, and the logarithm of their weighted mean probabilities.

    Args:
        heads: modules from features ``(n, D)`` to logits ``(n, C)``, at least one.
        shares: the weight of each head, positive; they are scaled to sum to 1. Equal by default.
    """

    log_shares: Tensor

    def __init__(self, heads: Sequence[nn.Module], shares: Sequence[float] | None = None) -> None:
        super().__init__()
        if not heads:
            raise UsageError("an ensemble needs at least one member")
        self.heads = nn.ModuleList(heads)
        weights = torch.tensor([1.0] * len(heads) if shares is None else list(shares), dtype=torch.float64)
        if len(weights) != len(heads) or not bool((weights > 0).all()):
            raise UsageError(f"an ensemble of {len(heads)} heads needs as many positive shares, not {weights.tolist()}")
        self.register_buffer("log_shares", (weights / weights.sum()).log())

    def forward(self, features: Tensor) -> Tensor:
        """Returns log-probabilities ``(n, C)``, in the type of the heads' logits."""
        logits = torch.stack([head(features) for head in self.heads])
        log_probabilities = logits.double().log_softmax(-1) + self.log_shares.double()[:, None, None]
        return log_probabilities.logsumexp(0).to(logits.dtype)


def ensemble_network(members: Members) -> nn.Module:
    """Returns the soft vote of some members as one network, from preprocessed images to log-probabilities ``(n, C)``.

    It lies on the CPU, frozen, in evaluation mode. Of a pruning problem the backbone is there once and runs once, and a
    member that votes twice is one head of double weight. Of other problems it is a ``SoftVote`` of whole networks.

    Args:
        members: the members, one for each vote, of the same problem (the same run seed).
    """
    if not isinstance(members.problem, PruningProblem):
        return SoftVote([members.problem.network(genome) for genome in members.genomes]).eval()
    votes = Counter(members.solutions)
    distinct = members.subset([members.solutions.index(solution) for solution in votes])
    heads = [head.module() for head in members.problem.heads(distinct.genomes)]
    return with_head(members.problem.extractor, HeadVote(heads, list(votes.values())))


def save_ensemble(members: Members, folder: Path, notes: Mapping[str, Any] | None = None) -> nn.Module:
    """Writes the ensemble, ``ensemble.safetensors`` and ``ensemble.json``, into a folder, and returns the network.

    The first is the state dict, backbone included; the second says what the heads look like, who they are, how images
    are prepared, and ``notes`` (JSON-ready). :func:`load_ensemble` reads them again.

    Raises:
        UsageError: the members are not heads on one backbone.
    """
    from safetensors.torch import save

    problem = members.problem
    if not isinstance(problem, PruningProblem):
        raise UsageError(f"{type(problem).__name__} has no heads on one backbone; save its networks one by one")
    network = ensemble_network(members)
    votes = Counter(members.solutions)
    vote = _vote_of(network)
    described = [
        {"solution": solution, "votes": count, "widths": _widths(head)}
        for (solution, count), head in zip(votes.items(), vote.heads, strict=True)
    ]
    description = {
        "format": _FORMAT,
        "output": "log of the mean class probabilities (n, C) of preprocessed images",
        "classes": list(problem.task.classes),
        "preprocess": dataclasses.asdict(problem.extractor.preprocess),
        "features": problem.extractor.features,
        "head": dataclasses.asdict(problem.spec),
        "members": described,
        **(notes or {}),
    }
    with replacing(folder / WEIGHTS) as temporary:
        # Clones, since safetensors refuses tensors that share memory.
        tensors = {name: value.clone().contiguous() for name, value in network.state_dict().items()}
        temporary.write_bytes(save(tensors))  # save_file would make a file only its owner can read
    write_text(folder / DESCRIPTION, json.dumps(description, indent=2, allow_nan=False) + "\n")
    return network


def load_ensemble(folder: Path | str, backbone: nn.Module) -> nn.Module:
    """Returns a saved ensemble, from preprocessed images to log-probabilities ``(n, C)``; nothing is unpickled.

    Args:
        folder: where :func:`save_ensemble` wrote.
        backbone: a network of the architecture the heads were trained on, with any weights; it is copied.

    Raises:
        UsageError: there is no ensemble, it is damaged, or the backbone is another.
    """
    folder = Path(folder)
    with described_by(folder / DESCRIPTION, "ensemble"):
        description = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        if description["format"] != _FORMAT:
            raise UsageError("written by a later version of moprune; use that")
        head = dict(description["head"])
        spec = HeadSpec(**{**head, "hidden": tuple(head["hidden"])})
        weights = read_weights(folder / WEIGHTS)
        for member in description["members"]:
            check_size(spec, member["widths"], weights)
        heads = [_skeleton(spec, member["widths"]) for member in description["members"]]
        vote = HeadVote(heads, [member["votes"] for member in description["members"]])
        preprocess = Preprocess(**description["preprocess"])
        network = with_head(FeatureExtractor(backbone, features=description["features"], preprocess=preprocess), vote)
    fill(network, weights, str(folder / WEIGHTS))
    return network


def uniform_soup(heads: Sequence[TrainedHead], genomes: Genomes) -> TrainedHead:
    """Returns the head whose weights are the mean of several heads' (a uniform soup, Wortsman et al. 2022).

    Only heads that keep the same units have weights that correspond. Members of one front never do, since their
    masks differ; heads of the same mask from different initial weights have the same shape, but may lie in different
    basins, in which case the soup is worse than any of them.

    Args:
        heads: k >= 1 heads.
        genomes: what they were made of, ``(k, n_var)``.

    Raises:
        UsageError: no head is given, or they do not keep the same units.
    """
    if not heads or len(heads) != len(genomes):
        raise UsageError(f"a soup needs at least one head and a genome each, not {len(heads)} and {len(genomes)}")
    first = heads[0]
    if not (genomes == genomes[0]).all():
        raise UsageError("heads that keep different units have no weights in common to average; let them vote")
    layers = range(len(first.weights.matrices))
    matrices = [torch.stack([head.weights.matrices[i] for head in heads]).mean(0) for i in layers]
    biases: list[Tensor | None] = []
    for i in layers:
        each = [bias for head in heads if (bias := head.weights.biases[i]) is not None]
        biases.append(torch.stack(each).mean(0) if each else None)
    weights = HeadWeights(tuple(matrices), tuple(biases))
    epochs, failed = max(head.epochs for head in heads), any(head.failed for head in heads)
    return dataclasses.replace(first, weights=weights, epochs=epochs, failed=failed)


def _vote_of(network: nn.Module) -> HeadVote:
    return next(module for module in network.modules() if isinstance(module, HeadVote))


def _widths(head: nn.Module) -> list[int]:
    """Returns the units left in each layer of ``TrainedHead.module()``, the features first."""
    return [int(layer.in_features) for layer in head.children() if isinstance(layer, nn.Linear)]


def _skeleton(spec: HeadSpec, widths: Sequence[int]) -> nn.Module:
    """Returns a head of those widths, its values to be filled in."""
    sizes = [*widths, spec.classes]
    if len(widths) != len(spec.units):
        raise UsageError(f"a head of {len(spec.units)} layers needs as many widths, not {list(widths)}")
    matrices = [torch.zeros(a, b) for a, b in pairwise(sizes)]
    last = len(matrices) - 1
    biases = [torch.zeros(m.shape[1]) if spec.hidden_bias or i == last else None for i, m in enumerate(matrices)]
    empty = HeadWeights(tuple(matrices), tuple(biases))
    return TrainedHead(spec, torch.zeros(widths[0], dtype=torch.int64), empty, epochs=0).module()
