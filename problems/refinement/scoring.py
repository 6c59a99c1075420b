"""Scoring networks with changed weights: the inputs that objectives read, and the outcome of a candidate on a split."""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from moprune.data import Inputs, Task, limit
from moprune.errors import UsageError, not_one_of
from moprune.metrics import nll_terms
from moprune.networks.modes import device_of
from moprune.networks.selection import State, norm_statistics, state_of
from moprune.networks.store import digest_of
from moprune.networks.suffix import Suffix
from moprune.objectives import NEEDS, Outcome
from moprune.population.batches import Batches, batches
from moprune.population.weights import PRECISIONS, Scored, reestimated, score_states

Candidate: TypeAlias = Sequence[State]
"""What predicts: one state of the network, or several whose probabilities are averaged."""

Terms: TypeAlias = Callable[[Tensor, Tensor], NDArray[np.float64]]

_PROVIDED = frozenset({"ood", "corruptions"})
# Statistics estimated on about a thousand images differ little from those of all.
_CALIBRATION = 1024


class StateScorer:
    """Turns states of a network into outcomes; owns the prepared inputs of every part of a task.

    A part is a split (``search``), one of its OOD pools (``search/noise``) or its inputs under a corruption
    (``search/gaussian_noise@3``). What comes before the first tensor that may change is run once for all candidates.

    Args:
        task: the data.
        network: the pre-trained network; it is copied.
        changed: the tensors in which candidates of the search differ.
        needs: what the objectives read besides predictions on the split.
        preprocess: an item to what the network reads.
        reestimate: whether batch normalisation statistics are re-estimated for each state.
        batch_size: inputs a forward pass.
        precision: of the forward passes over ``search``, one of :data:`moprune.population.weights.PRECISIONS`; the
            other splits are always scored in float32.
        device: where the work is done.
        on_prepared: called with (part, inputs done, inputs in all) when a part is prepared.

    Raises:
        UsageError: a need that only pruning serves, or that the task has nothing for; nothing to re-estimate.
    """

    def __init__(
        self,
        task: Task,
        network: nn.Module,
        changed: Sequence[str],
        needs: frozenset[str],
        *,
        preprocess: Callable[..., Tensor],
        reestimate: bool,
        batch_size: int,
        device: torch.device,
        precision: str = "float32",
        on_prepared: Callable[[str, int, int], None] | None = None,
    ) -> None:
        if precision not in PRECISIONS:
            raise not_one_of("precision", precision, PRECISIONS)
        if refused := sorted(needs - _PROVIDED):
            raise UsageError(
                f"an objective needs {refused[0]} ({NEEDS[refused[0]]}), which pruning alone provides; drop it"
            )
        for need, what in (("ood", task.ood), ("corruptions", task.corruptions)):
            if need in needs and not all(what[split] for split in ("search", "test")):
                raise UsageError(
                    f"an objective needs {need} for search and test; task {task.name!r} has none: name some, or drop "
                    "the objective"
                )
        self.task, self.needs = task, needs
        self.preprocess, self.batch_size, self.precision = preprocess, batch_size, precision
        self.base = copy.deepcopy(network).to(device).requires_grad_(False).eval()
        statistics = norm_statistics(self.base) if reestimate else ()
        if reestimate and not statistics:
            raise UsageError("reestimate: the network has no batch normalisation; leave it out")
        self.reestimate = reestimate
        self._changed = tuple(dict.fromkeys([*changed, *statistics]))
        self._suffixes: dict[bool, Suffix] = {}
        self._batches: dict[tuple[bool, str], Batches] = {}
        self._subset: tuple[Tensor, Batches] | None = None
        self._on_prepared = on_prepared

    @property
    def state_bytes(self) -> int:
        """The size of a state of the search."""
        tensors = self.base.state_dict()
        return sum(tensors[name].nbytes for name in self._changed)

    def outputs(self) -> int:
        """Returns how many classes the network tells apart."""
        example = self.preprocess(self.task.train.inputs[0])[None]
        with torch.no_grad():
            return int(self.base(example.to(device_of(self.base))).shape[-1])

    def images(self, split: str) -> int:
        """Returns how many inputs a state is scored on for a split: its own, its OOD pools and its corruptions."""
        return sum(len(self._inputs(part)[0]) for part in self._parts(split))

    def outcomes(self, candidates: Sequence[Candidate], split: str) -> Iterator[Outcome]:
        """Yields the outcome of each candidate on a split.

        Where a prediction is not finite, every class counts as equally likely.

        Args:
            candidates: the states of each, on any device.
            split: ``search``, ``select`` or ``test``, whose OOD pools and corruptions are taken.
        """
        states = [state for candidate in candidates for state in candidate]
        logits = {part: self._logits(states, part) for part in self._parts(split)}
        first = 0
        for candidate in candidates:
            rows = slice(first, first + len(candidate))
            first += len(candidate)
            yield self._outcome({part: _averaged(each[rows]) for part, each in logits.items()}, split)

    def bounded(
        self, states: Sequence[State], bounds: Sequence[float | None], terms: Terms | None, subset: Tensor | None
    ) -> Iterator[tuple[Outcome | None, float, float]]:
        """Yields for each state its outcome on ``search``, a lower bound of its value, and the images spent.

        Args:
            states: of the search's tensors.
            bounds: beyond which a state is dropped: its outcome is None and the value's lower bound is above it.
            terms: what the value is the mean of, where there are bounds.
            subset: which inputs of the split stand for it; None for all.
        """
        if subset is None and all(bound is None for bound in bounds):
            inputs = float(self.images("search"))
            inputs += self._calibration(False).images * len(self._parts("search")) if self.reestimate else 0
            for outcome in self.outcomes([(state,) for state in states], "search"):
                yield outcome, float("nan"), inputs
            return
        if len(self._parts("search")) > 1:
            raise UsageError(
                "objectives that read OOD pools or corruptions are scored on the whole split, without subsets"
            )
        data = self._prepared(False, "search") if subset is None else self._prepared_subset(subset)
        labels = self.task.search.labels if subset is None else self.task.search.labels[subset]
        scores = self._scored(states, data, whole=False, bounds=bounds, terms=terms, precision=self.precision)
        for scored in scores:
            found = None if scored.logits is None else Outcome(_finite(scored.logits), labels)
            yield found, scored.total, float(scored.images)

    def _outcome(self, logits: Mapping[str, Tensor], split: str) -> Outcome:
        pools = self.task.ood.get(split, {}) if "ood" in self.needs else {}
        corruptions = self.task.corruptions[split] if "corruptions" in self.needs else {}
        return Outcome(
            logits=logits[split],
            labels=self.task.split(split).labels,
            ood_logits={name: logits[f"{split}/{name}"] for name in pools},
            corrupted_logits={name: logits[f"{split}/{name}"] for name in corruptions},
        )

    def _logits(self, states: Sequence[State], part: str) -> list[Tensor]:
        """Returns the logits of each state on a part, by the suffix that its tensors need."""
        known = frozenset(self._changed)
        found: dict[int, Tensor] = {}
        for whole in (False, True):
            rows = [i for i, state in enumerate(states) if whole != known.issuperset(state)]
            if not rows:
                continue
            searched = part.partition("/")[0] == "search"
            scored = self._scored(
                [states[i] for i in rows], self._prepared(whole, part), whole=whole,
                precision=self.precision if searched else "float32",
            )  # fmt: skip
            for i, each in zip(rows, scored, strict=True):
                assert each.logits is not None  # nothing is dropped without a bound
                found[i] = _finite(each.logits)
        return [found[i] for i in range(len(states))]

    def _scored(
        self,
        states: Sequence[State],
        data: Batches,
        *,
        whole: bool,
        precision: str,
        bounds: Sequence[float | None] | None = None,
        terms: Terms | None = None,
    ) -> Iterator[Scored]:
        return score_states(
            self._suffix(whole),
            states,
            data,
            per_image=None if terms is None else _PerImage(terms),
            bounds=None if terms is None else bounds,
            calibration=self._calibration(whole) if self.reestimate else None,
            precision=precision,
        )

    def _suffix(self, whole: bool) -> Suffix:
        if whole not in self._suffixes:
            self._suffixes[whole] = Suffix(self.base, tuple(state_of(self.base)) if whole else self._changed)
        return self._suffixes[whole]

    def _prepared(self, whole: bool, part: str) -> Batches:
        if (whole, part) not in self._batches:
            inputs, labels = self._inputs(part)
            self._report(part, 0, len(inputs))
            self._batches[whole, part] = self._made(whole, inputs, labels)
            self._report(part, len(inputs), len(inputs))
        return self._batches[whole, part]

    def _prepared_subset(self, subset: Tensor) -> Batches:
        """Returns the subset of ``search`` in use; the next one takes its place."""
        if self._subset is None or not torch.equal(self._subset[0], subset):
            inputs, labels = self._inputs("search")
            self._subset = subset, self._made(False, inputs.subset(subset.tolist()), labels[subset])
        return self._subset[1]

    def _calibration(self, whole: bool) -> Batches:
        if (whole, "calibration") not in self._batches:
            labels = self.task.train.labels
            rows = torch.as_tensor(limit(labels, min(_CALIBRATION, len(labels)), seed=0))
            inputs = self.task.train.inputs.subset(rows.tolist())
            self._batches[whole, "calibration"] = self._made(whole, inputs, labels[rows])
        return self._batches[whole, "calibration"]

    def _made(self, whole: bool, inputs: Inputs, labels: Tensor) -> Batches:
        # Not inference tensors, though whoever asks may be making such: gradients may flow through them later.
        with torch.inference_mode(False):
            return batches(
                self._suffix(whole), inputs, labels, self.preprocess, self.batch_size, hardest_first=_HARDEST
            )

    def _inputs(self, part: str) -> tuple[Inputs, Tensor]:
        split, _, name = part.partition("/")
        given = self.task.split(split)
        if not name:
            return given.inputs, given.labels
        if name in self.task.corruptions[split]:
            return self.task.corruptions[split][name], given.labels
        pool = self.task.ood[split][name]
        return pool, torch.zeros(len(pool), dtype=torch.int64)

    def _parts(self, split: str) -> list[str]:
        pools = self.task.ood.get(split, {}) if "ood" in self.needs else {}
        corruptions = self.task.corruptions[split] if "corruptions" in self.needs else {}
        return [split, *(f"{split}/{name}" for name in (*pools, *corruptions))]

    def _report(self, part: str, done: int, total: int) -> None:
        if self._on_prepared is not None:
            self._on_prepared(part, done, total)

    def calibrated(self, state: State) -> State:
        """Returns a state as it is scored: with statistics of its own, where they are re-estimated."""
        if not self.reestimate:
            return state
        whole = not set(state) <= set(self._changed)
        return reestimated(self._suffix(whole), state, self._calibration(whole))

    def network_of(self, state: State) -> nn.Module:
        """Returns a copy of the network as a state of it is scored, on the CPU, in evaluation mode."""
        network = copy.deepcopy(self.base).cpu()
        network.load_state_dict({name: each.cpu() for name, each in self.calibrated(state).items()}, strict=False)
        return network

    def fingerprint(self) -> dict[str, Any]:
        """Returns what an outcome depends on besides task and state, JSON-ready."""
        return {
            "network": digest_of(self.base.state_dict()),
            "preprocess": repr(self.preprocess),
            "reestimate": self.reestimate,
            "batch_size": self.batch_size,
            **({} if self.precision == "float32" else {"precision": self.precision}),  # older runs have none
        }

    def __getstate__(self) -> dict[str, Any]:
        # A callback belongs to the process it was made in; prepared inputs are made again where they are wanted.
        return self.__dict__ | {"_on_prepared": None, "_batches": {}, "_suffixes": {}, "_subset": None}


class _PerImage:
    """A measure of :class:`moprune.objectives.Objective` as the evaluation of populations takes it."""

    def __init__(self, terms: Terms) -> None:
        self.terms = terms

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        return torch.from_numpy(self.terms(_finite(logits), labels))


_HARDEST = _PerImage(nll_terms)


def _finite(logits: Tensor) -> Tensor:
    """Returns logits, those of an input for which any is not finite all alike."""
    return torch.where(logits.isfinite().all(1, keepdim=True), logits, 0.0)


def _averaged(logits: Sequence[Tensor]) -> Tensor:
    """Returns the logits of one state, or the logarithms of the mean probabilities of several."""
    if len(logits) == 1:
        return logits[0]
    return torch.stack([each.double().log_softmax(1) for each in logits]).logsumexp(0).sub(np.log(len(logits))).float()
