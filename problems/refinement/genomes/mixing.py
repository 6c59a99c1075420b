"""Affine combinations of a network and its fine-tuned descendants."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from moprune.errors import UsageError, not_one_of
from moprune.networks.selection import State, state_of
from moprune.networks.store import digest_of
from problems.refinement.genomes.genotype import Genotype

GRAINS = ("network", "stage", "layer")


class Mixing(Genotype):
    """Coefficients c of K members: w = start + sum over k of c_k (member_k - start).

    Zeros are the pre-trained network, a unit vector is a member (both value for value), 1/K everywhere is the uniform
    soup (Wortsman et al. 2022). Running statistics of normalisation layers mix like weights, variances down to 0;
    counters stay the network's. Tensors in which no member differs from the network are not changed.

    The start and the members come back from their weights exactly. Any other genome does to about the precision of
    float32, if in no group a member is a mixture of others (a group of fewer than K weights always is one).

    Args:
        network: the pre-trained network.
        members: K >= 1 states of it; tensors that one lacks are the network's.
        per: one coefficient a member for the whole ``network``, for each ``stage`` (top-level child), or each ``layer``
            (module that owns weights).
        low: lower bound of the coefficients, <= 0.
        high: upper bound, >= 1; sums above 1 go beyond the members.

    Raises:
        UsageError: there are no members, they do not fit or none differs from the network, there is no such grain, or
            the bounds leave out the start or the members.
    """

    def __init__(
        self,
        network: nn.Module,
        members: Sequence[State],
        per: str = "network",
        low: float = 0.0,
        high: float = 1.0,
    ) -> None:
        if per not in GRAINS:
            raise not_one_of("genome: mixing per", per, GRAINS)
        if not -np.inf < low <= 0 or not 1 <= high < np.inf:
            raise UsageError(f"genome: mixing within [{low}, {high}]; give bounds around 0 (start) and 1 (member)")
        own = state_of(network)
        _check(own, members)
        different = [n for n in own if any(n in m and not torch.equal(m[n].cpu(), own[n]) for m in members)]
        if not different:
            raise UsageError("genome: no member differs from the network; give fine-tuned states of it")
        super().__init__(network, different)
        self.per, self.low, self.high = per, float(low), float(high)
        self.members: list[State] = [{n: m[n] for n in self.changed if n in m} for m in members]
        self.groups: dict[str, list[str]] = {}
        for name in self.changed:
            self.groups.setdefault(_group(name, per), []).append(name)
        self.start = np.zeros(len(self.groups) * len(members))

    @property
    def lower(self) -> NDArray[np.float64]:
        """The lower bound (D,)."""
        return np.full(self.n_var, self.low)

    @property
    def upper(self) -> NDArray[np.float64]:
        """The upper bound (D,)."""
        return np.full(self.n_var, self.high)

    @property
    def blocks(self) -> NDArray[np.int64] | None:
        """The stage or layer each coefficient belongs to (D,); None for one coefficient a member."""
        if self.per == "network":
            return None
        return np.repeat(np.arange(len(self.groups), dtype=np.int64), len(self.members))

    def weights(self, genome: NDArray[np.float64]) -> State:
        """Returns the tensors of a genome (D,)."""
        rows = self._values(genome).reshape(len(self.groups), -1)
        mixed = {n: self._mix(n, row) for row, names in zip(rows, self.groups.values(), strict=True) for n in names}
        return {name: mixed[name] for name in self.changed}

    def genome(self, state: Mapping[str, Tensor]) -> NDArray[np.float64]:
        """Returns the coefficients (D,) of least squares in each group, cut at the bounds.

        Where members are mixtures of each other, those of least norm; but a member is always itself.
        """
        parts = []
        for names in self.groups.values():
            member = self._member(state, names)
            parts.append(self._fit(state, names) if member is None else np.eye(len(self.members))[member])
        return self._clipped(np.concatenate(parts))

    def names(self) -> list[str]:
        """Returns ``layer1 member 2`` for each coefficient, counted from 1."""
        return [f"{group} member {k}" for group in self.groups for k in range(1, len(self.members) + 1)]

    def describe(self) -> dict[str, Any]:
        """Returns what tells this genotype from others."""
        digests = [digest_of(member) for member in self.members]
        return self._described("mixing", per=self.per, low=self.low, high=self.high, members=digests)

    def _mix(self, name: str, coefficients: NDArray[np.float64]) -> Tensor:
        # Not start + c (member - start), whose difference would be rounded: a member would not be itself.
        mixed = self._target({}, name) * (1 - float(coefficients.sum()))
        for member, coefficient in zip(self.members, coefficients.tolist(), strict=True):
            if coefficient != 0:
                mixed += coefficient * self._target(member, name)
        # Beyond the members a variance could be negative, and the network's outputs no numbers.
        return (mixed.clamp_(min=0) if name.endswith("running_var") else mixed).float()

    def _member(self, state: Mapping[str, Tensor], names: Sequence[str]) -> int | None:
        """Returns the first member that a state equals in some tensors, unless it is the start there."""
        targets = {name: self._target(state, name) for name in names}
        if all(torch.equal(target, self._target({}, name)) for name, target in targets.items()):
            return None
        for k, member in enumerate(self.members):
            if all(torch.equal(target, self._target(member, name)) for name, target in targets.items()):
                return k
        return None

    def _fit(self, state: Mapping[str, Tensor], names: Sequence[str]) -> NDArray[np.float64]:
        """Returns the coefficients (K,) of one group: normal equations, added up tensor by tensor, solved twice."""
        gram = np.zeros((len(self.members), len(self.members)))
        for name in names:
            moves = self._moves(name)
            gram += np.array([[float(a @ b) for b in moves] for a in moves])
        inverse = np.linalg.pinv(gram, rcond=1e-14, hermitian=True)
        found = np.zeros(len(self.members))
        # The second time removes what squaring the condition number cost the first.
        for _ in range(2):
            right = np.zeros(len(self.members))
            for name in names:
                moves = self._moves(name)
                rest = (self._target(state, name) - self._target({}, name)).reshape(-1)
                for coefficient, move in zip(found.tolist(), moves, strict=True):
                    rest -= coefficient * move
                right += np.array([float(move @ rest) for move in moves])
            found = found + inverse @ right
        return found

    def _moves(self, name: str) -> list[Tensor]:
        """Returns how far each member is from the start in one tensor, K of (m,), float64."""
        start = self._target({}, name)
        return [(self._target(member, name) - start).reshape(-1) for member in self.members]


def _check(own: State, members: Sequence[State]) -> None:
    if not members:
        raise UsageError("genome: mixing needs members; give at least one fine-tuned state")
    for number, member in enumerate(members, 1):
        for name, tensor in member.items():
            # Integer counters may be there and are not looked at.
            if tensor.is_floating_point() and (name not in own or tensor.shape != own[name].shape):
                raise UsageError(f"genome: member {number}: {name} is not the network's; give states of this network")
            if not torch.isfinite(tensor).all():
                raise UsageError(f"genome: member {number}: {name} is not finite; fine-tune it at a smaller rate")


def _group(name: str, per: str) -> str:
    """Returns the stage or layer of a tensor; the network has one group of that name."""
    if per == "network":
        return "network"
    return name.split(".")[0] if per == "stage" else name.rpartition(".")[0] or name
