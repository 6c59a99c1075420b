"""The benchmark of attribution: what ``moprune explain`` computes for each member of a front, against captum alone.

Of each member that is the conductance of its features and Grad-CAM maps of images. The naive way hands one whole
network after another to captum, images out of a ``DataLoader``. moprune takes the conductances on cached features and
in large batches; maps run the whole network in both ways. Both must come to the same values.
"""

from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode

from analysis.attribution.images import Explained
from analysis.attribution.neurons import STEPS, conductances
from experiments.bench.digits import genomes, pruning_problem
from experiments.bench.rows import OURS, Measured, Row, Tell, agreed, check_rounds, in_sequence, in_turns, largest
from experiments.bench.timing import Work
from experiments.bench.trials import Images
from moprune.data import limit
from moprune.devices import resolve_device
from moprune.errors import UsageError
from moprune.networks.assembly import with_head
from moprune.networks.heads import TrainedHead
from problems.pruning import PruningProblem

TOLERANCE = 1e-3
"""Largest difference of two values, in units of the largest of the member, that counts as the same result."""

_BATCH = 32


def bench_attribution(
    *,
    candidates: int = 4,
    images: int = 60,
    hidden: int = 64,
    rounds: int = 3,
    seed: int = 0,
    device: str = "cpu",
    progress: Tell | None = None,
) -> Row:
    """Measures the attributions of members against captum alone.

    Args:
        candidates: members, of random masks; >= 1.
        images: of the select split, at most what it has; >= 4.
        hidden: units of their hidden layer.
        rounds: times each way is measured, in turns; >= 2.
        seed: of the task, the masks and the training.
        device: ``auto``, ``cpu`` or ``cuda[:n]``.
        progress: told about each step.

    Raises:
        UsageError: arguments that make no benchmark.
        MopruneError: a value differs by more than :data:`TOLERANCE`.
    """
    check_rounds(rounds)
    if candidates < 1 or images < 4:
        raise UsageError(f"a benchmark needs >= 1 member and >= 4 images, not {candidates} and {images}")
    tell, place = progress or (lambda _: None), resolve_device(device)
    problem = pruning_problem(["error"], hidden=hidden, epochs=2, seed=seed, device=place)
    members = Members(problem, problem.heads(genomes(problem, candidates, seed)), images)
    tell("attribution: warming up and comparing results")
    difference = _compare(members)
    ways: dict[str, tuple[float, Callable[[], object]]] = {
        "naive conductances": (candidates, members.naive_conductances),
        "conductances": (candidates, members.conductances),
        "naive maps": (candidates, members.naive_maps),
        "maps": (candidates, members.maps),
    }
    parts = in_turns(ways, rounds, place, tell)
    rates = parts.rates
    naive = in_sequence([rates["naive conductances"], rates["naive maps"]])
    ours = in_sequence([rates["conductances"], rates["maps"]])
    return Measured({"naive": naive, OURS: ours}, parts.limits).row(
        "attribution", "members",
        {"candidates": candidates, "images": len(members.rows), "hidden": hidden, "features": problem.spec.features},
        {"naive": "captum on one whole network after another, DataLoader over images"},
        members.work(), place, difference=difference, tolerance=TOLERANCE,
        figures={
            "ratio of conductances alone": _ratio(rates["conductances"], rates["naive conductances"]),
            "ratio of maps alone": _ratio(rates["maps"], rates["naive maps"]),
        },
    )  # fmt: skip


class Members:
    """Trained heads of a problem, and images to explain them on.

    Args:
        problem: whose select split images are of.
        heads: the members'.
        images: how many, at most what the split has.
    """

    def __init__(self, problem: PruningProblem, heads: Sequence[TrainedHead], images: int) -> None:
        select = problem.task.select
        self.rows = limit(select.labels, min(images, len(select)), 0)
        self._split, self._preprocess = select.subset(self.rows), problem.extractor.preprocess
        self._heads, self._extractor, self._device = heads, problem.extractor, problem.device
        self._networks = [with_head(problem.extractor, head.module()).to(problem.device) for head in heads]
        self._images = torch.stack([self._preprocess(self._split.inputs[i]) for i in range(len(self.rows))])
        self._features = problem.scorer.features("select")[self.rows]

    def conductances(self) -> list[Tensor]:
        """Returns the conductance of each member's features, ``(n, kept)``, as `moprune explain` takes them."""
        return [conductances(head, self._features, self._split.labels)[0] for head in self._heads]

    def maps(self) -> list[Tensor]:
        """Returns each member's maps, ``(n, H, W)``, as `moprune explain` makes them."""
        return [Explained(network, self._images).classes(self._images).values for network in self._networks]

    def naive_conductances(self) -> list[Tensor]:
        """Returns the conductances by captum, the backbone run again for each member."""
        from captum.attr import LayerConductance

        found = []
        for head in self._heads:
            module = head.module()
            method: Any = LayerConductance(module, module[0])
            parts = [
                method.attribute(
                    self._extractor(x).cpu().requires_grad_(), baselines=0.0, target=y, n_steps=STEPS,
                    method="riemann_trapezoid",
                ).detach()
                for x, y in self._loader()
            ]  # fmt: skip
            found.append(torch.cat(parts))
        return found

    def naive_maps(self) -> list[Tensor]:
        """Returns the maps by captum."""
        from captum.attr import LayerGradCam

        found = []
        for network in self._networks:
            layer = [module for module in network.modules() if isinstance(module, nn.Conv2d)][-1]
            method: Any = LayerGradCam(network, layer)
            parts = []
            for batch, _ in self._loader():
                x = batch.to(self._device).requires_grad_()
                cells = method.attribute(x, target=network(x).argmax(1), relu_attributions=True).detach()
                parts.append(functional.interpolate(cells, size=x.shape[-2:], mode="bilinear")[:, 0].cpu())
            found.append(torch.cat(parts))
        return found

    def work(self) -> Work:
        """Returns the mean work of a member: the products that torch counts, and images and features read once."""
        with FlopCounterMode(display=False) as counter:
            self.conductances()
            self.maps()
        return Work(counter.get_total_flops() / len(self._heads), self._images.nbytes + self._features.nbytes)

    def _loader(self) -> DataLoader[Any]:
        return DataLoader(Images(self._split, self._preprocess), _BATCH)


def _compare(members: Members) -> float:
    """Returns the largest difference of a value, in units of its member's largest."""
    pairs = [
        *zip(members.conductances(), members.naive_conductances(), strict=True),
        *zip(members.maps(), members.naive_maps(), strict=True),
    ]
    differences = [float((a - b).abs().max() / b.abs().max().clamp_min(1e-12)) for a, b in pairs]
    return agreed("attribution: a value differs from captum's", largest(differences), TOLERANCE)


def _ratio(ours: Sequence[float], naive: Sequence[float]) -> float:
    return median(a / b for a, b in zip(ours, naive, strict=True))
