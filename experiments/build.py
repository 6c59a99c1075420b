"""From a configuration to the objects it names: the task, the network and the problem."""

from collections.abc import Callable
from typing import Any

from experiments.config import DataConfig, ExperimentConfig, NetworkConfig
from moprune.data import Source, SplitPlan, Task, open_digits, open_folder, open_tar, open_torchvision
from moprune.errors import UsageError, not_one_of
from moprune.networks import FeatureExtractor, Preprocess, pretrained, pretrained_digits, published
from moprune.networks.attacks import Attack
from moprune.population import Training
from problems.pruning import Protocol, PruningProblem

FeatureProgress = Callable[[str, int, int], None]


def build_problem(config: ExperimentConfig, seed: int, on_features: FeatureProgress | None = None) -> PruningProblem:
    """Returns the problem an experiment describes, for one run seed.

    Args:
        config: the experiment.
        seed: the run seed.
        on_features: called with (split, images done, images in all) while features are computed.

    Raises:
        UsageError: the data, the network or the weights cannot be used; the message says why.
    """
    pruning = config.pruning
    return PruningProblem(
        build_task(config.data, published=config.profile == "paper"),
        build_network(config.network),
        encoding=pruning.encoding,
        objectives=config.resolved_objectives(),
        reported=config.resolved_reported(),
        hidden=pruning.hidden,
        activation=pruning.activation,
        hidden_bias=pruning.hidden_bias,
        training=Training(**pruning.training.model_dump()),
        members=pruning.members,
        readers=pruning.readers,
        mode=pruning.mode,
        protocol=Protocol(pruning.folds, pruning.refit),
        attack=Attack(**config.attack.model_dump()),
        repeats=pruning.repeats,
        seed=seed,
        device=config.device,
        strategy=pruning.strategy,
        chunk=pruning.chunk,
        on_features=on_features,
    )


def build_task(data: DataConfig, *, published: bool = False) -> Task:
    """Returns the task: the source's images in four splits, with OOD pools; or as it was published, three being one."""
    source = _open(data)
    for name in data.exclude:
        if name not in source.classes:
            raise not_one_of("data.exclude: class", name, source.classes)
    if data.exclude:
        source, _ = source.without(data.exclude)
    plan = None
    if data.splits is not None:
        plan = {split: SplitPlan(each.subset, each.share, each.limit) for split, each in data.splits}
    task = Task.from_source(
        source,
        plan=plan,
        ood_search=data.ood.search,
        ood_test=data.ood.test,
        corrupt_search=data.corruptions.search,
        corrupt_test=data.corruptions.test,
        seed=data.split_seed,
        name=data.name or data.path or data.source,
    )
    return task.published() if published else task


def build_network(network: NetworkConfig) -> FeatureExtractor:
    """Returns the frozen network with its preprocessing."""
    if network.arch == "digits":
        return FeatureExtractor(pretrained_digits(), features=network.features)
    model = pretrained(network.arch, network.weights)
    return FeatureExtractor(model, features=network.features, preprocess=_preprocess(network))


def _preprocess(network: NetworkConfig) -> Preprocess:
    if network.preprocess is not None:
        return Preprocess(**network.preprocess.model_dump())
    own = ":" in network.arch or network.arch.startswith("cifar_") or network.weights in (None, "random")
    try:
        weights: Any = None if own else published(network.arch, str(network.weights))
    except UsageError:  # weights of a file: nothing says how its images were prepared
        weights = None
    if weights is None:
        raise UsageError(
            f"network.preprocess: say how images are prepared for {network.arch!r} (resize, crop, mean, std); only "
            "torchvision's published weights say it themselves"
        )
    return Preprocess.from_weights(weights)


def _open(data: DataConfig) -> Source:
    if data.source == "digits":
        return open_digits()
    if data.source == "torchvision":
        if data.name is None:
            raise UsageError("data.name: name the torchvision data set, e.g. data.name=CIFAR10")
        return open_torchvision(data.name, data.root, download=data.download, mode=data.mode)
    if data.path is None:
        raise UsageError(f"data.path: give the path of the {data.source}, e.g. --set data.path=my_images")
    mode = data.mode or "RGB"
    return open_tar(data.path, mode) if data.source == "tar" else open_folder(data.path, mode)
