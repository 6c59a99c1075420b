"""The contract of objectives."""

import pickle
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from moprune.objectives import NEEDS, Attacked, Objective, Outcome, Perturbed, Representations
from moprune.seeding import torch_generator
from moprune.testing.checks import global_random_states_kept

# An outcome without what a need stands for.
_WITHOUT: Mapping[str, Mapping[str, Any]] = {
    "ood": {"ood_logits": {}},
    "representations": {"representations": None},
    "features": {"features": None},
    "corruptions": {"corrupted_logits": {}},
    "attacks": {"attacked": None},
    "perturbed": {"perturbed": None},
}


class ObjectiveContract:
    """An :class:`moprune.objectives.Objective` measures an outcome and nothing else."""

    def make_objective(self) -> Objective:
        """Returns the objective under test."""
        raise NotImplementedError("override make_objective")

    def make_outcome(self, seed: int) -> Outcome:
        """Returns an outcome with all that :data:`NEEDS` names: every class present, two OOD pools, two corruptions."""
        generator = torch_generator(seed, "contract outcome")

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator)

        def pools(width: int) -> dict[str, Tensor]:
            return {name: normal(size, width) for name, size in (("a", 30), ("b", 41))}

        def seen(labels: Tensor, width: int) -> Tensor:
            return normal(len(labels), width) + 2 * one_hot(labels, width)

        labels, train_labels, some = torch.arange(90) % 5, torch.arange(60) % 5, torch.arange(20) % 5
        logits, ood_logits = seen(labels, 5), pools(5)
        share = float(torch.rand((), generator=generator))
        counts = {"active_units": 10, "head_parameters": 100, "parameters": 1000, "flops": 10_000}
        counts |= {"trainable_parameters": 100, "backward_flops": 1000, "activation_bytes": 1000, "stored_bytes": 400}
        shares = {"active_fraction": share, "trainable_share": share}
        return Outcome(
            logits=logits,
            labels=labels,
            ood_logits=ood_logits,
            costs=shares | {name: round(share * largest) for name, largest in counts.items()},
            representations=Representations(seen(labels, 7), pools(7), seen(train_labels, 7), train_labels),
            features=Representations(seen(labels, 9), pools(9), seen(train_labels, 9), train_labels),
            corrupted_logits={"contrast@3": logits + normal(90, 5), "gaussian_noise@1": logits + normal(90, 5)},
            attacked=Attacked(seen(some, 5), some),
            perturbed=Perturbed(1.5 * seen(some, 5), pools(5)),
        )

    def outcomes(self) -> Iterator[Outcome]:
        """Yields ordinary outcomes and extreme ones: saturated, all wrong, and undecided."""
        for seed in range(3):
            outcome = self.make_outcome(seed)
            yield outcome
            for factor in (1e4, -1e4, 0.0):
                yield _extreme(outcome, factor)

    def test_values_are_finite_and_no_worse_than_the_worst(self) -> None:
        objective = self.make_objective()
        assert np.isfinite(objective.worst), "worst is not finite"
        assert objective.scale > 0, "scale must be positive"
        for outcome in self.outcomes():
            value = objective.compute(outcome)
            assert np.isfinite(value), f"{objective.name} is {value}"
            beyond = value - objective.worst if objective.minimise else objective.worst - value
            assert beyond <= 1e-12, f"{objective.name} is {value}, worse than its declared worst {objective.worst}"

    def test_it_is_deterministic(self) -> None:
        objective = self.make_objective()
        with global_random_states_kept(objective.name):
            for outcome in self.outcomes():
                assert objective.compute(outcome) == objective.compute(outcome), f"{objective.name} varies"

    def test_natural_and_minimised_are_inverse(self) -> None:
        objective = self.make_objective()
        natural = np.linspace(objective.worst - 1, objective.worst + 1, 11)
        back = objective.natural(objective.minimised(natural))
        assert np.allclose(back, natural, rtol=0, atol=1e-12), "natural(minimised(v)) is not v"
        rising = (np.diff(objective.minimised(natural)) > 0).all()
        assert rising == objective.minimise, "minimised values must fall as natural values get better"

    def test_the_order_of_images_does_not_matter(self) -> None:
        objective = self.make_objective()
        generator = torch_generator(0, "contract image order")
        for outcome in self.outcomes():
            other = _reordered(outcome, lambda count: torch.randperm(count, generator=generator))
            gap = abs(objective.compute(outcome) - objective.compute(other))
            assert gap <= 1e-12, f"{objective.name} changes by {gap} with the order of images"

    def test_a_cost_does_not_read_images_nor_a_measure_costs(self) -> None:
        objective = self.make_objective()
        outcome = self.make_outcome(0)
        if objective.is_cost:
            other = replace(self.make_outcome(1), costs=outcome.costs)
            reason = "is declared a cost but depends on images"
        else:
            other = replace(outcome, costs={name: value + 1 for name, value in outcome.costs.items()})
            reason = "depends on costs but is not declared a cost"
        assert objective.compute(outcome) == objective.compute(other), f"{objective.name} {reason}"

    def test_it_reads_only_what_it_says_it_needs(self) -> None:
        objective = self.make_objective()
        outcome = self.make_outcome(0)
        for need in NEEDS.keys() - objective.needs:
            without = replace(outcome, **_WITHOUT[need])
            reason = f"{objective.name} reads {NEEDS[need]} without saying that it needs {need!r}"
            assert objective.compute(outcome) == objective.compute(without), reason

    def test_it_can_be_pickled(self) -> None:
        try:
            pickle.dumps(self.make_objective())
        except Exception as error:
            raise AssertionError(f"the objective cannot go to another process: {error}") from error


def _parts(outcome: Outcome) -> tuple[Representations, Representations, Attacked, Perturbed]:
    assert outcome.representations is not None, "make_outcome must give representations"
    assert outcome.features is not None, "make_outcome must give features"
    assert outcome.attacked is not None, "make_outcome must give attacked images"
    assert outcome.perturbed is not None, "make_outcome must give perturbed images"
    return outcome.representations, outcome.features, outcome.attacked, outcome.perturbed


def _extreme(outcome: Outcome, factor: float) -> Outcome:
    """Returns an outcome with nothing but ``factor`` for the right class, and what the head reads scaled by it."""
    seen, features, attacked, perturbed = _parts(outcome)

    def certain(logits: Tensor, labels: Tensor) -> Tensor:
        return factor * one_hot(labels, logits.shape[1]).float()

    def scaled(read: Representations) -> Representations:
        pools = _each(read.pools, lambda rows: factor * rows)
        return replace(read, images=factor * read.images, train=factor * read.train, pools=pools)

    return replace(
        outcome,
        logits=certain(outcome.logits, outcome.labels),
        representations=scaled(seen),
        features=scaled(features),
        corrupted_logits=_each(outcome.corrupted_logits, lambda logits: certain(logits, outcome.labels)),
        attacked=replace(attacked, logits=certain(attacked.logits, attacked.labels)),
        perturbed=replace(perturbed, images=factor * perturbed.images),
    )


def _reordered(outcome: Outcome, order_of: Callable[[int], Tensor]) -> Outcome:
    """Returns the same outcome with its images in another order."""
    seen, features, attacked, perturbed = _parts(outcome)
    order, some = order_of(len(outcome.labels)), order_of(len(attacked.labels))

    def shuffled(rows: Tensor) -> Tensor:
        return rows[order_of(len(rows))]

    def mixed(read: Representations) -> Representations:
        train = order_of(len(read.train_labels))
        return Representations(
            shuffled(read.images), _each(read.pools, shuffled), read.train[train], read.train_labels[train]
        )

    return replace(
        outcome,
        logits=outcome.logits[order],
        labels=outcome.labels[order],
        ood_logits=_each(outcome.ood_logits, shuffled),
        representations=mixed(seen),
        features=mixed(features),
        corrupted_logits=_each(outcome.corrupted_logits, lambda logits: logits[order]),
        attacked=Attacked(attacked.logits[some], attacked.labels[some]),
        perturbed=Perturbed(shuffled(perturbed.images), _each(perturbed.pools, shuffled)),
    )


def _each(rows: Mapping[str, Tensor], change: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    return {name: change(each) for name, each in rows.items()}
