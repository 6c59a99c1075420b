"""What the benchmark of layer selection is measured on: a network, images, and the candidates of a generation."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from moprune.algorithms import make
from moprune.data import Split, Task, TensorInputs, limit, open_tar
from moprune.networks import Preprocess, digit_images, pretrained, pretrained_digits
from moprune.networks.units import units
from moprune.population.tuning import Job, Labelled, TuningRecipe
from problems.selection import Graded, Tuning, trained
from problems.selection.anchors import of_units
from problems.selection.problem import SelectionProblem

GENERATIONS = 10
"""Of NSGA-II before the one that is measured."""

IMAGES = 300
"""The search that candidates come from sees no more of each split, and trains for one epoch."""


@dataclass(frozen=True, eq=False)
class Generation:
    """A network to fine-tune, and the candidates to do it with.

    Attributes:
        network: with a head for the classes.
        train: the images that candidates learn from, as the network reads them.
        read: reads and preprocesses one of them, by its place in ``train``.
        search: the images that their losses are compared on.
        recipe: how they learn.
        tunings: the candidates by kind.
        genotype: of the candidates.
        masks: where those of the kind ``search`` come from.
    """

    network: nn.Module
    train: Labelled
    read: Callable[[int], Tensor]
    search: Labelled
    recipe: TuningRecipe
    tunings: dict[str, Sequence[Tuning]]
    genotype: Graded
    masks: str

    def jobs(self, seed: int) -> dict[str, list[Job]]:
        """Returns the candidates by kind, as a `Tuner` is asked for them."""
        return {kind: [self._job(tuning, seed) for tuning in tunings] for kind, tunings in self.tunings.items()}

    def _job(self, tuning: Tuning, seed: int) -> Job:
        whole, ranks = trained(self.network, self.genotype.units, tuning)
        names = {*whole, *ranks}
        rates = {n: tuning.rates[unit.name] for unit in self.genotype.units for n in unit.parameters if n in names}
        return Job(rates, ranks, seed=seed)


def digits(candidates: int, epochs: int) -> Generation:
    """Returns all ten digits for a network that has seen five of them, with a new head."""
    inputs, labels = digit_images(range(10), held_out=False)
    return _generation("digits", pretrained_digits(), inputs.__getitem__, labels, candidates, epochs, "new")


def cifar(data: Path, images: int, candidates: int, epochs: int) -> Generation:
    """Returns negatives of images for a ResNet-20 that knows the positives.

    Args:
        data: folder of ``cifar10_jpeg.tar`` and ``resnet20_cifar10.pth``, whose normalisation is that of
            github.com/akamaster/pytorch_resnet_cifar10.
        images: that candidates learn from.
        candidates: of a generation.
        epochs: of each.
    """
    network = pretrained("cifar_resnet20", data / "resnet20_cifar10.pth")
    split = open_tar(data / "cifar10_jpeg.tar").subset("test")
    rows = limit(split.labels, images * 3 // 2, seed=0)
    normalise = Preprocess(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))

    def read(place: int) -> Tensor:
        return normalise(1 - Preprocess()(split.inputs[rows[place]]))

    return _generation("negatives", network, read, split.labels[rows], candidates, epochs, "kept")


def _generation(
    name: str,
    network: nn.Module,
    read: Callable[[int], Tensor],
    labels: Tensor,
    candidates: int,
    epochs: int,
    head: str,
) -> Generation:
    learnt, scored = _divided(labels)
    inputs = torch.stack([read(place) for place in range(len(labels))])
    train, search = (Labelled(inputs[places], labels[places]) for places in (learnt, scored))
    genotype = Graded(network, units(network, "block"))
    problem = _problem(name, network, train, search, genotype, head)
    algorithm = make(
        "nsga2", problem, pop_size=candidates, first=problem.first_population(candidates), choices=genotype.choices
    )
    algorithm.setup(problem, seed=0, verbose=False)
    for _ in range(GENERATIONS):
        algorithm.next()
    bred = problem.tunings(algorithm.ask().get("X"))
    body = [unit.name for unit in genotype.units if unit.kind != "head"]
    kinds = {"head only": [], "late": body[-1:], "early": body[:1], "everything": body}
    tunings = {kind: [of_units(genotype.units, chosen, rate) for rate in (1.0, 0.3)] for kind, chosen in kinds.items()}
    masks = f"offspring of NSGA-II (macro error, trainable parameters) after {GENERATIONS} generations"
    recipe = TuningRecipe(epochs=epochs)
    return Generation(
        problem.base,
        train,
        lambda place: read(learnt[place]),
        search,
        recipe,
        {"search": bred, **tunings},
        genotype,
        masks,
    )


def _problem(
    name: str, network: nn.Module, train: Labelled, search: Labelled, genotype: Graded, head: str
) -> SelectionProblem:
    """Returns the problem of a search on some of the images; splits that it does not use are the same as its own."""
    fewer = [limit(part.labels, min(IMAGES, len(part.labels)), seed=0) for part in (train, search)]
    seen, scored = (
        Split(TensorInputs(part.inputs[rows]), part.labels[rows])
        for part, rows in zip((train, search), fewer, strict=True)
    )
    classes = tuple(str(label) for label in train.labels.unique().tolist())
    task = Task(name, classes, train=seen, search=scored, select=scored, test=scored, optimistic=True)
    return SelectionProblem(task, network, genotype, recipe=TuningRecipe(epochs=1), head=head, device="cpu")


def _divided(labels: Tensor) -> tuple[list[int], list[int]]:
    """Returns the places of two thirds of the images, class by class, and of the others."""
    chosen = limit(labels, len(labels) * 2 // 3, seed=0)
    return list(chosen), sorted(set(range(len(labels))) - set(chosen))
