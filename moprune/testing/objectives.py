"""The contract of objectives."""

import pickle
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from moprune.objectives import Objective, Outcome
from moprune.seeding import torch_generator
from moprune.testing.checks import global_random_states_kept


class ObjectiveContract:
    """An :class:`moprune.objectives.Objective` measures an outcome and nothing else."""

    def make_objective(self) -> Objective:
        """Returns the objective under test."""
        raise NotImplementedError("override make_objective")

    def make_outcome(self, seed: int) -> Outcome:
        """Returns an outcome: every class present, two OOD pools, and the costs of a pruned head."""
        generator = torch_generator(seed, "contract outcome")
        labels = torch.arange(90) % 5
        logits = torch.randn(90, 5, generator=generator) + 2 * torch.nn.functional.one_hot(labels, 5)
        pools = {name: torch.randn(size, 5, generator=generator) for name, size in (("a", 30), ("b", 41))}
        share = float(torch.rand((), generator=generator))
        costs = {"active_fraction": share, "active_units": round(share * 10), "head_parameters": round(share * 100)}
        return Outcome(logits, labels, pools, costs)

    def outcomes(self) -> Iterator[Outcome]:
        """Yields ordinary outcomes and extreme ones: saturated, all wrong, and undecided."""
        for seed in range(3):
            outcome = self.make_outcome(seed)
            yield outcome
            right = torch.nn.functional.one_hot(outcome.labels, outcome.logits.shape[1]).float()
            for factor in (1e4, -1e4, 0.0):
                yield replace(outcome, logits=factor * right)

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

        def shuffled(tensor: Tensor) -> Tensor:
            return tensor[torch.randperm(len(tensor), generator=generator)]

        for outcome in self.outcomes():
            order = torch.randperm(len(outcome.labels), generator=generator)
            other = replace(
                outcome,
                logits=outcome.logits[order],
                labels=outcome.labels[order],
                ood_logits={name: shuffled(pool) for name, pool in outcome.ood_logits.items()},
            )
            gap = abs(objective.compute(outcome) - objective.compute(other))
            assert gap <= 1e-12, f"{objective.name} changes by {gap} with the order of images"

    def test_a_cost_does_not_read_images_nor_a_measure_costs(self) -> None:
        objective = self.make_objective()
        outcome = self.make_outcome(0)
        if objective.is_cost:
            pools = {name: -pool for name, pool in outcome.ood_logits.items()}
            other = replace(outcome, logits=-outcome.logits, ood_logits=pools)
            reason = "is declared a cost but depends on logits"
        else:
            other = replace(outcome, costs={name: value + 1 for name, value in outcome.costs.items()})
            reason = "depends on costs but is not declared a cost"
        assert objective.compute(outcome) == objective.compute(other), f"{objective.name} {reason}"

    def test_it_reads_ood_pools_only_if_it_says_so(self) -> None:
        objective = self.make_objective()
        if not objective.needs_ood:
            outcome = self.make_outcome(0)
            without = replace(outcome, ood_logits={})
            assert objective.compute(outcome) == objective.compute(without), f"{objective.name} reads OOD pools"

    def test_it_can_be_pickled(self) -> None:
        try:
            pickle.dumps(self.make_objective())
        except Exception as error:
            raise AssertionError(f"the objective cannot go to another process: {error}") from error
