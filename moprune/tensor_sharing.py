"""Tensors in Ray's object store: those of the processes of one machine are one and the same memory."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from moprune.errors import UsageError

# Smaller ones are copied: there is nothing to gain, and what a network counts in its buffers stays its own.
_LEAST_BYTES = 1 << 20

_SHARED_TYPES = frozenset(
    {torch.float32, torch.float64, torch.float16, torch.int64, torch.int32, torch.int16, torch.uint8, torch.bool}
)

_Recipe = tuple[Callable[..., Any], tuple[Any, ...]]


@contextmanager
def sharing_tensors(ray: Any, *, gpus: bool) -> Iterator[set[torch.device]]:
    """Has ``ray.put`` share large tensors on the CPU among those who read them; they must not write to them.

    Only plain tensors, and the data of a network's parameters, are shared. Those on a CUDA device go to the first
    that their reader has; the CUDA devices found are known once something was put.

    Args:
        ray: the module, connected.
        gpus: whether readers have one.

    Raises:
        UsageError: within, for tensors on a CUDA device whose readers have none.
    """
    found: set[torch.device] = set()

    def reduced(tensor: Tensor) -> _Recipe:
        if tensor.is_cuda and not gpus:
            raise UsageError(
                f"the problem lies on {tensor.device} and its workers have no GPU; give them gpus_per_worker "
                "(--gpus-per-worker), or the problem device cpu"
            )
        found.update([tensor.device] if tensor.is_cuda else [])
        return _reduced(tensor)

    util = ray.util
    util.register_serializer(Tensor, serializer=reduced, deserializer=_made)
    util.register_serializer(torch.device, serializer=_reduced_device, deserializer=_made)
    try:
        yield found
    finally:
        util.deregister_serializer(Tensor)
        util.deregister_serializer(torch.device)


def _made(recipe: _Recipe) -> Any:
    function, arguments = recipe
    return function(*arguments)


def _reduced(tensor: Tensor) -> _Recipe:
    """Returns how a tensor is made again: around an array in shared memory, or as pickle does it."""
    if tensor.is_cuda:
        return _on_gpu, (tensor.detach().cpu(), tensor.requires_grad)
    plain = tensor.layout == torch.strided and not tensor.requires_grad and not tensor.is_conj()
    if plain and tensor.untyped_storage().nbytes() > tensor.nbytes:
        tensor = tensor.clone()  # a view would take along all that it was cut from
    # Dense in some order of its axes, which is kept: in another layout convolutions round otherwise.
    order = sorted(range(tensor.ndim), key=tensor.stride, reverse=True) if plain else []
    dense = plain and tensor.permute(order).is_contiguous()
    if not dense or tensor.nbytes < _LEAST_BYTES or tensor.dtype not in _SHARED_TYPES:
        function, arguments = tensor.__reduce_ex__(2)[:2]
        return function, arguments
    return _around, (tensor.permute(order).numpy(), np.argsort(order).tolist())


def _around(array: NDArray[Any], order: list[int]) -> Tensor:
    with warnings.catch_warnings():
        # Torch has no tensors that cannot be written to, and warns of it.
        warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
        return torch.from_numpy(array).permute(order)


def _on_gpu(tensor: Tensor, requires_grad: bool) -> Tensor:
    return tensor.to("cuda:0").requires_grad_(requires_grad)


def _reduced_device(device: torch.device) -> _Recipe:
    """Returns a device as its reader has it: of GPUs, Ray shows each worker its own as the first."""
    return torch.device, (("cuda:0" if device.index is not None else "cuda") if device.type == "cuda" else str(device),)
