"""What is asked of a `Tuner`, and what it answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor

from moprune.networks.low_rank import Factors
from moprune.networks.selection import State


class Labelled(NamedTuple):
    """Images with their classes.

    Attributes:
        inputs: (n, ...), what the network reads.
        labels: (n,) int64.
    """

    inputs: Tensor
    labels: Tensor


@dataclass(frozen=True, eq=False)
class Job:
    """One fine-tuning of a part of a network.

    Attributes:
        rates: name of each parameter that is trained -> its learning rate as a factor > 0 of the base rate; at least
            one. All others are frozen.
        ranks: of those, the ones that are trained as a change of low rank, `Factors` (LoRA: Hu et al. 2022): ``up``
            starts at zero, ``down`` is drawn from the seed, uniform within 1 / sqrt(its columns). Where factors would
            hold no fewer values than the parameter (`factor_shapes`), it is trained whole.
        start: values of parameters and buffers other than the network's, such as a new head's.
        seed: of the order of images and of factors.
        rows: int64, which training images; None for all of them, in their order.
        epochs: None for the recipe's.
        validation: images whose accuracy decides when to stop; needed where the recipe has a patience.
    """

    rates: Mapping[str, float]
    ranks: Mapping[str, int] = field(default_factory=dict)
    start: State = field(default_factory=dict)
    seed: int = 0
    rows: Tensor | None = None
    epochs: int | None = None
    validation: Labelled | None = None


@dataclass(frozen=True, eq=False)
class Tuned:
    """What came of a `Job`.

    Attributes:
        state: every tensor that differs from the network: start values, trained parameters with changes of low rank
            merged, running statistics that moved; float32 on the CPU.
        factors: the changes of low rank.
        epochs: trained.
        images: forward-image equivalents spent, as if nothing were shared: `TuningRecipe.images`, and the validation
            images once an epoch.
        finite: whether training stayed finite; where it did not, ``state`` is the job's start.
    """

    state: State
    factors: Mapping[str, Factors]
    epochs: int
    images: float
    finite: bool
