"""The part of a network behind everything that some of its tensors cannot change."""

import copy
import math
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain
from operator import attrgetter
from queue import Empty, SimpleQueue
from typing import TypeVar

import torch
from torch import Tensor, fx, nn
from torch.func import functional_call

from moprune.errors import UsageError
from moprune.networks.modes import evaluating
from moprune.networks.selection import State

T = TypeVar("T")

# Of the largest logit; the two halves run the very same operations, so this is far more than they differ by.
_TOLERANCE = 1e-4


class Suffix:
    """What has to run again when some tensors of a network change; what comes before them runs once.

    ``suffix(suffix.frontier(x), state)`` is ``functional_call(network, state, x)`` in evaluation mode, to float
    tolerance. The network is traced symbolically (`torch.fx`), so that branches and residual connections are followed;
    the operations that can depend on the tensors are the suffix. The first batch is run both ways with all the tensors
    moved a little: where tracing fails, or its result is not the network's, the whole network is the suffix.

    Calls must not overlap (threads): a state lies in the network's own modules while it runs.

    Args:
        network: is used as it is, in evaluation mode for the time of each call; its device must not change later.
        changed: names of the parameters and buffers that states may hold.

    Attributes:
        network: as given.
        changed: as given, in the same order.

    Raises:
        UsageError: the network has no tensor of such a name.
    """

    def __init__(self, network: nn.Module, changed: Collection[str]) -> None:
        self.network = network
        self.changed = tuple(changed)
        tensors = _tensors(network)
        for name in self.changed:
            if name not in tensors:
                raise UsageError(f"{type(network).__name__} has no tensor {name!r}; take names that select() returns")
        self._known = frozenset(self.changed)
        self._checked = False
        halves = _halves(network, {id(tensors[name]) for name in self.changed})
        self._use(*(halves or (None, network)))

    def __reduce__(self) -> tuple[object, ...]:
        return Suffix, (self.network, self.changed)

    def replica(self) -> "Suffix":
        """Returns the same for another thread: modules of its own around the same tensors.

        A call puts the state's tensors into the modules for as long as it takes.
        """
        shared = {id(tensor): tensor for tensor in _tensors(self.network).values()}
        twin = object.__new__(type(self))
        twin.__dict__.update(copy.deepcopy({**vars(self), "_spare": None}, shared), _spare=SimpleQueue())
        return twin

    @contextmanager
    def lent(self) -> Iterator["Suffix"]:
        """Lends a replica that nobody else has; it is kept for the next who asks."""
        spare = self._spare
        try:
            replica = spare.get_nowait()
        except Empty:
            replica = self.replica()
        try:
            yield replica
        finally:
            spare.put(replica)

    @property
    def cached(self) -> bool:
        """Whether any part of the network runs only once a batch; sure after the first call of `frontier`."""
        return self._prefix is not None

    def frontier(self, x: Tensor) -> tuple[Tensor, ...]:
        """Returns what the suffix reads of a batch.

        Args:
            x: (n, ...), what the network's forward takes, on its device; never written to.

        Returns:
            Activations of the frozen part, the same number for every batch, without gradients; ``(x,)`` where nothing
            is cached. In the first layers of a network an image has more of them than pixels.
        """
        if not self._checked:
            self._check(x)
        return self._before(x)

    def __call__(self, frontier: Sequence[Tensor], state: State) -> Tensor:
        """Returns the logits (n, C) of a batch with some tensors changed.

        Gradients with respect to the state flow where they are enabled.

        Args:
            frontier: what `frontier` returned for the batch; is not changed.
            state: values of some or all of the changed tensors, on the network's device; the others are the network's.

        Raises:
            UsageError: the state holds a tensor that is not among the changed ones.
        """
        return self.with_state(state, lambda run: run(frontier))

    def with_state(self, state: State, work: Callable[[Callable[[Sequence[Tensor]], Tensor]], T]) -> T:
        """Returns what some work makes of the network with some tensors changed.

        They are put in place once, which for a small network costs as much as a batch.

        Args:
            state: as in a call.
            work: is given what maps the frontier of a batch to its logits (n, C), of use until it returns.

        Raises:
            UsageError: the state holds a tensor that is not among the changed ones.
        """
        if not self._known.issuperset(state):
            strange = next(name for name in state if name not in self._known)
            raise UsageError(f"the state changes {strange!r}, which is frozen here; name it in changed=")
        values = {f"rest.{self._names[name]}": value for name, value in state.items() if name in self._names}

        def run(rest: nn.Module, frontier: Sequence[Tensor]) -> Tensor:
            inputs = (value.clone() if i in self._written else value for i, value in enumerate(frontier))
            logits: Tensor = rest(*inputs)
            return logits

        with evaluating(self._rest):
            result: T = functional_call(_Held(self._rest), values, (lambda rest: work(partial(run, rest)),))
        return result

    def _use(self, prefix: nn.Module | None, rest: nn.Module) -> None:
        """Takes a prefix (None for nothing) and what comes after it into use."""
        self._prefix, self._rest = prefix, rest
        self._spare: SimpleQueue[Suffix] = SimpleQueue()
        names = {id(tensor): name for name, tensor in _tensors(rest).items()}
        # What the suffix never reads changes nothing; a tied tensor may have another name there.
        own = _tensors(self.network)
        self._names = {name: names[id(own[name])] for name in self.changed if id(own[name]) in names}
        self._written: frozenset[int] = frozenset()

    @torch.no_grad()
    def _before(self, x: Tensor) -> tuple[Tensor, ...]:
        if self._prefix is None:
            return (x,)
        with evaluating(self._prefix):
            values: tuple[Tensor, ...] = self._prefix(x.clone())
        # A slice (the last step of a sequence) would keep all of what it was cut from in memory.
        return tuple(v.clone() if v.untyped_storage().nbytes() > v.nbytes else v for v in values)

    def _check(self, x: Tensor) -> None:
        """Finds out which activations the suffix writes to, and whether the halves make the whole."""
        # Inference mode has no version counters, which show that a tensor was written to.
        with torch.inference_mode(False), torch.no_grad():
            x = x.clone()
            # Multiplied and shifted: no tensor stays as it is, and variances stay positive.
            own = _tensors(self.network)
            moved = {name: own[name].detach() * 1.01 + 0.001 for name in self.changed if own[name].is_floating_point()}
            with evaluating(self.network):
                expected: Tensor = functional_call(self.network, moved, (x.clone(),))
            if self._prefix is not None and not self._agrees(x, moved, expected):
                self._use(None, self.network)
            if self._prefix is None:
                self._find_written(x, moved)
        self._checked = True

    def _agrees(self, x: Tensor, state: State, expected: Tensor) -> bool:
        try:
            self._find_written(x, state)
            found = self(self._before(x), state)
        except Exception:  # whatever a graph that is not the network's program may run into
            return False
        scale = float(expected.abs().nan_to_num(0, posinf=0).max()) if expected.numel() else 0.0
        close = found.shape == expected.shape
        return close and torch.allclose(found, expected, rtol=0, atol=_TOLERANCE * scale, equal_nan=True)

    def _find_written(self, x: Tensor, state: State) -> None:
        values = tuple(value.clone() for value in self._before(x))
        versions = [value._version for value in values]
        self(values, state)
        self._written = frozenset(i for i, value in enumerate(values) if value._version != versions[i])


class _Held(nn.Module):
    """A module that some work is given while its tensors are changed."""

    def __init__(self, rest: nn.Module) -> None:
        super().__init__()
        self.rest = rest

    def forward(self, work: Callable[[nn.Module], T]) -> T:
        return work(self.rest)


def tensors_in_order(network: nn.Module) -> tuple[str, ...]:
    """Returns the names of a network's parameters and buffers in the order in which a forward pass first reads them.

    Those of one operation, those that it never reads (which come last), and all those of a network that cannot be
    traced are in the order they were registered. A tied tensor goes by its first name.
    """
    names = {id(tensor): name for name, tensor in chain(network.named_parameters(), network.named_buffers())}
    first = dict.fromkeys(names, math.inf)
    shell, graph = traced(network) or (network, fx.Graph())
    for place, node in enumerate(graph.nodes):
        for tensor in _reads(shell, node) & names.keys():
            first[tensor] = min(first[tensor], place)
    return tuple(names[tensor] for tensor in sorted(names, key=first.__getitem__))


class _Tracer(fx.Tracer):
    # Otherwise arithmetic on buffers alone would be done while tracing, and its result be kept as a constant.
    proxy_buffer_attributes = True


def _halves(network: nn.Module, changed: set[int]) -> tuple[nn.Module, nn.Module] | None:
    """Returns the part of a network that does not depend on the changed tensors, and the rest; None for no such part.

    Args:
        network: in any mode.
        changed: ids of tensors.
    """
    found = traced(network)
    if found is None:
        return None
    shell, graph = found
    depends: set[fx.Node] = set()
    for node in graph.nodes:
        if node.op == "output" or depends.intersection(node.all_input_nodes) or changed & _reads(shell, node):
            depends.add(node)
    rest = depends | _read_again(graph, depends)
    frontier = [node for node in graph.nodes if node not in rest and rest.intersection(node.users)]
    if all(node.op == "placeholder" for node in frontier):
        return None
    prefix = _copied([node for node in graph.nodes if node not in depends], ())
    nodes = {node.name: node for node in prefix.nodes}
    prefix.output(tuple(nodes[node.name] for node in frontier))
    suffix = _copied([node for node in graph.nodes if node in rest], frontier)
    return fx.GraphModule(shell, prefix), fx.GraphModule(shell, suffix)


def traced(network: nn.Module) -> tuple[nn.Module, fx.Graph] | None:
    """Returns a network's operations in evaluation mode, and a module they can be run with; None if it has no graph."""
    # The tracer stores constants on the module it is given; a shallow copy shares all modules and tensors.
    shell = copy.copy(network)
    try:
        with evaluating(network):
            shell.training = False
            return shell, _Tracer().trace(shell)
    except Exception:  # forward runs on stand-ins for tensors here, which any Python code may reject in its own way
        return None


def _reads(network: nn.Module, node: fx.Node) -> set[int]:
    """Returns the ids of the tensors of the network that an operation reads itself."""
    if node.op == "get_attr":
        return {id(attrgetter(str(node.target))(network))}
    if node.op == "call_module":
        return {id(tensor) for tensor in _tensors(network.get_submodule(str(node.target))).values()}
    return set()


def _read_again(graph: fx.Graph, depends: set[fx.Node]) -> set[fx.Node]:
    """Returns what the suffix reads for itself: frozen parameters, and sizes, which are not tensors to be kept."""
    light: set[fx.Node] = set()
    for node in graph.nodes:
        reads_size = (node.op, node.target) in _SIZES
        of_light = node.op.startswith("call_") and node.all_input_nodes and light.issuperset(node.all_input_nodes)
        if node not in depends and (node.op == "get_attr" or reads_size or of_light):
            light.add(node)
    wanted: set[fx.Node] = set()
    for node in reversed(graph.nodes):
        if node in light and any(user in depends or user in wanted for user in node.users):
            wanted.add(node)
    return wanted


# "x.shape" is traced as a call of getattr.
_SIZES = {("call_function", getattr), *(("call_method", name) for name in ("size", "dim", "numel"))}


def _copied(nodes: Sequence[fx.Node], inputs: Sequence[fx.Node]) -> fx.Graph:
    """Returns a graph of some nodes, in their order, with the values of ``inputs`` given from outside."""
    copied = fx.Graph()
    new = {node: copied.placeholder(node.name) for node in inputs}
    for node in nodes:
        new[node] = copied.node_copy(node, new.__getitem__)
    return copied


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    """Returns the parameters and buffers of a module under all their names."""
    named = chain(module.named_parameters(remove_duplicate=False), module.named_buffers(remove_duplicate=False))
    return dict(named)
