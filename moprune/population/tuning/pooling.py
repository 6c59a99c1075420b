"""Maxima of a window before the ReLU, which then has fewer activations to go through."""

from torch import nn

from moprune.population.tuning.neighbours import neighbours


def pool_first(network: nn.Module) -> list[tuple[str, str]]:
    """Exchanges each ReLU with the max-pooling behind it that alone reads it.

    max(relu(a), relu(b)) = relu(max(a, b)), and the gradients are the same: they go to the first greatest activation of
    a window, and nowhere where none is above zero. With windows of 2 x 2 the ReLU has a quarter of the work.

    Args:
        network: is changed, if it can be traced: such modules have each other's place.

    Returns:
        The names of both, for each exchange.
    """
    modules = dict(network.named_modules())
    pairs = [names for names in neighbours(network) if _fit(*(modules[name] for name in names))]
    for relu, pool in pairs:
        network.set_submodule(relu, modules[pool])
        network.set_submodule(pool, modules[relu])
    return pairs


def _fit(relu: nn.Module, pool: nn.Module) -> bool:
    return type(relu) is nn.ReLU and type(pool) is nn.MaxPool2d and not pool.return_indices
