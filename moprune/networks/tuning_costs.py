"""What fine-tuning a part of a network costs: in training, and to store for each task."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from moprune.errors import UsageError
from moprune.networks.low_rank import Factors, factor_shapes, merged
from moprune.networks.modes import evaluating


@dataclass(frozen=True)
class TuningCosts:
    """What fine-tuning costs.

    Attributes:
        parameters: numbers that gradients are taken of.
        backward_flops: of one backward pass per sample, 2 x multiply-accumulates of convolutions and matrix products:
            gradients of trained weights, and of activations back to the first of them.
        activation_bytes: of all that the backward pass of the whole batch needs of the forward pass, the network's
            tensors aside. It is all there when the backward pass begins, which is its peak.
        stored_bytes: of the tensors in the file of the task (`save_delta`), its header aside.
    """

    parameters: int
    backward_flops: int
    activation_bytes: int
    stored_bytes: int


def tuning_costs(
    network: nn.Module, example: Tensor, names: Sequence[str], ranks: Mapping[str, int] = MappingProxyType({})
) -> TuningCosts:
    """Returns what it costs to tune some tensors of a network, measured in one pass forth and back.

    The network is in evaluation mode for the time of the pass and is not changed. Attention is spelled out as matrix
    products. Low rank is a change that is merged into the weights in each pass (`merged`): it has fewer parameters,
    but gradients of whole weights are taken on the way to its factors.

    Args:
        network: with one tensor of logits (n, C) in evaluation mode.
        example: a batch it accepts, (n, ...) with n >= 1, on its device.
        names: of the tensors that training changes: parameters, and buffers (running statistics), which are only
            stored.
        ranks: the rank, for parameters that are tuned by factors instead; where these would hold no fewer values than
            the parameter does (`factor_shapes`), it is tuned as a whole.

    Raises:
        UsageError: the example has no sample, the network has no such tensor, or one is both in names and in ranks.
    """
    if example.ndim == 0 or len(example) == 0:
        raise UsageError(f"tuning costs: the example has shape {tuple(example.shape)}; give at least one sample")
    tuned = _Tuned(network, names, ranks)
    kept: dict[tuple[torch.device, int], Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.device, tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with evaluating(network), _countable(), torch.inference_mode(False), torch.enable_grad():
        with saved_tensors_hooks(keep, lambda tensor: tensor):
            logits: Tensor = functional_call(network, tuned.state(), (example,))
        flops = _backward_flops(logits, tuned.leaves)
    own = {(t.device, t.untyped_storage().data_ptr()) for t in (*tuned.own.values(), *tuned.leaves)}
    return TuningCosts(
        parameters=sum(leaf.numel() for leaf in tuned.leaves),
        backward_flops=flops // len(example),
        activation_bytes=sum(t.untyped_storage().nbytes() for place, t in kept.items() if place not in own),
        stored_bytes=sum(tensor.nbytes for tensor in (*tuned.leaves, *tuned.buffers)),
    )


class _Tuned:
    """A network's tensors with those to be tuned as leaves of the graph of gradients; all share its memory."""

    def __init__(self, network: nn.Module, names: Sequence[str], ranks: Mapping[str, int]) -> None:
        parameters, buffers = dict(network.named_parameters()), dict(network.named_buffers())
        self.own = parameters | buffers
        for name in chain(names, ranks):
            if name not in self.own or (name in ranks and name not in parameters):
                raise UsageError(f"tuning costs: {type(network).__name__} has no tensor {name!r} to tune; name its own")
        if both := ranks.keys() & set(names):
            raise UsageError(f"tuning costs: {min(both)!r} is both in names and in ranks; give it in one")
        shapes = {name: factor_shapes(parameters[name].shape, rank) for name, rank in ranks.items()}
        whole = {*names, *(name for name, shape in shapes.items() if shape is None)}
        self.buffers = [tensor for name, tensor in buffers.items() if name in whole]
        self._tensors = {name: tensor.detach() for name, tensor in parameters.items()}
        self._factors = {
            name: Factors(*(torch.zeros(size, device=parameters[name].device).requires_grad_() for size in shape))
            for name, shape in shapes.items()
            if shape is not None
        }
        trained = [tensor.requires_grad_() for name, tensor in self._tensors.items() if name in whole]
        self.leaves: list[Tensor] = [*trained, *chain.from_iterable(self._factors.values())]

    def state(self) -> dict[str, Tensor]:
        return self._tensors | {name: merged(self._tensors[name], pair) for name, pair in self._factors.items()}


def _backward_flops(logits: Tensor, leaves: Sequence[Tensor]) -> int:
    if not logits.requires_grad:  # nothing that is tuned reaches the logits
        return 0
    with FlopCounterMode(display=False) as counter:
        torch.autograd.grad(logits, leaves, torch.ones_like(logits), allow_unused=True)
    return int(counter.get_total_flops())


@contextmanager
def _countable() -> Iterator[None]:
    """Has attention done in operations that are counted, and that gradients flow through."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
