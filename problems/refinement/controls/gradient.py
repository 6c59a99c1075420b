"""Gradient descent for the search's budget: on the train split, and on the very images that the search sees."""

from contextlib import suppress
from dataclasses import replace

from moprune.errors import UsageError
from moprune.networks.selection import select
from moprune.population.finetuning import finetune
from moprune.seeding import derive
from problems.refinement.controls.points import Labelled, Point, Setting


def gradient(setting: Setting) -> list[Point]:
    """Returns the network fine-tuned on train by the recipe, cosine rate: everything, norms alone, what is searched."""
    return _descents(setting, setting.train, "gradient")


def gradient_search(setting: Setting) -> list[Point]:
    """Returns the same on the search split: what gradients do with the data that the search has.

    Its loss there is that of training, and says little about other images.
    """
    return _descents(setting, setting.search, "gradient on search")


def _descents(setting: Setting, split: Labelled, purpose: str) -> list[Point]:
    data, epochs = setting.affordable(split)
    recipe = replace(setting.recipe, epochs=epochs, schedule="cosine")
    points = []
    for name, parameters in _parameters(setting).items():
        states = finetune(
            setting.network,
            *data,
            recipe,
            trainable=parameters,
            seed=derive(setting.seed, purpose),
            device=setting.device,
        )
        points.append(Point(name, tuple(states), recipe.images(len(data.labels))))
    return points


def _parameters(setting: Setting) -> dict[str, tuple[str, ...]]:
    """Returns the different sets of parameters to train, by name."""
    everything = tuple(name for name, _ in setting.network.named_parameters())
    sets = {"everything": everything}
    with suppress(UsageError):  # the network may have none
        sets["norms"] = select(setting.network, ["norms"])
    searched = tuple(name for name in everything if name in set(setting.genotype.changed))
    if searched and searched not in sets.values():
        sets["searched parameters"] = searched
    return sets
