"""What training a part of a network costs, by the names of the objectives."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from moprune.networks.tuning_costs import tuning_costs
from moprune.population.tuning.training import moving_layers
from problems.selection.memory import Memory

NAMES = ("trainable_parameters", "trainable_share", "backward_flops", "activation_bytes", "stored_bytes")
"""Of the costs: see :class:`moprune.networks.tuning_costs.TuningCosts`; the share is of all parameters, in [0, 1]."""

_HELD = 10_000

_Key = tuple[tuple[str, ...], tuple[tuple[str, int], ...]]


class Costs:
    """Measures :data:`NAMES` of parts of one network, each part once.

    Args:
        network: in evaluation mode, on its device; not changed.
        example: a batch as in training, ``(n, ...)``, on that device.
        statistics: which running statistics training moves, as in
            :class:`moprune.population.tuning.TuningRecipe`; they are stored with what is trained.
        new: names of the tensors that are drawn anew for the task, and stored even where they are frozen.
    """

    def __init__(self, network: nn.Module, example: Tensor, statistics: str, new: Sequence[str]) -> None:
        self.network, self.example, self.statistics, self.new = network, example, statistics, tuple(new)
        self.memory: Memory[_Key, dict[str, float]] = Memory(_HELD)

    def __call__(self, names: Sequence[str], ranks: Mapping[str, int]) -> dict[str, float]:
        """Returns the costs of training parameters whole (``names``) and by factors (name -> rank)."""
        key = (tuple(names), tuple(sorted(ranks.items())))
        if (known := self.memory.get(key)) is None:
            known = self._measured(names, ranks)
            self.memory.put(key, known)
        return dict(known)

    def moved(self, names: Sequence[str]) -> tuple[str, ...]:
        """Returns the running statistics that change where parameters of these names are trained."""
        layers = moving_layers(self.network, names, self.statistics)
        return tuple(f"{layer}.{each}".lstrip(".") for layer in layers for each in ("running_mean", "running_var"))

    def _measured(self, names: Sequence[str], ranks: Mapping[str, int]) -> dict[str, float]:
        tensors = dict(self.network.named_parameters())
        measured = tuning_costs(self.network, self.example, [*names, *self.moved([*names, *ranks])], ranks)
        drawn = sum(tensors[name].nbytes for name in self.new if name not in names and name not in ranks)
        counts = (
            measured.parameters,
            measured.parameters / sum(tensor.numel() for tensor in tensors.values()),
            measured.backward_flops,
            measured.activation_bytes,
            measured.stored_bytes + drawn,
        )
        return {name: float(count) for name, count in zip(NAMES, counts, strict=True)}
