"""A fine-tuned network as a file of what differs from the pre-trained one (safetensors, nothing is unpickled).

Applied to a network, a delta either leaves exactly the weights that were saved, bit for bit, or is refused. Its
metadata hold a format number, the SHA-256 of what it holds, and the SHA-256 of the base: of all tensors of the
pre-trained network that the file does not replace, whatever the values of those it does (a new head's, say).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from moprune.errors import UsageError
from moprune.files import replacing
from moprune.networks.low_rank import Factors, merged
from moprune.networks.store import digest_of

_FORMAT = "1"
# Behind the names of the two factors of a tensor; module names in Python code hold no such sign.
_UP, _DOWN = "@up", "@down"
_ADVICE = "use the network that it was made from"


def save_delta(
    path: str | Path, base: nn.Module, tuned: Mapping[str, Tensor | Factors], names: Sequence[str] | None = None
) -> None:
    """Writes the tensors in which a fine-tuned network differs from its base.

    Args:
        path: of the file, ``*.safetensors``.
        base: the pre-trained network.
        tuned: values of some or all tensors of the base by their names in its state dict, of its shapes and types;
            factors stand for a change of low rank, and are stored as they are.
        names: of the tuned tensors to look at; None for all.

    Raises:
        UsageError: the base has no such tensor, or one of another shape or type.
    """
    from safetensors.torch import save

    own, first = _tensors(base)
    whole: dict[str, Tensor] = {}
    factors: dict[str, Tensor] = {}
    for name in tuned if names is None else names:
        if name not in tuned or name not in first:
            where = type(base).__name__ if name in tuned else "the tuned state"
            raise UsageError(f"delta: {where} has no tensor {name!r}; give names from the network's state_dict()")
        known, value = first[name], tuned[name]
        if isinstance(value, Factors):
            _merged(own[known], *value)  # refuses what does not fit
            factors |= {known + _UP: value.up, known + _DOWN: value.down}
            continue
        _check_kind(name, value, own[known], "delta")
        if not _same_bits(value, own[known]):
            whole[known] = value
    content = {name: value.detach().cpu().contiguous().clone() for name, value in (whole | factors).items()}
    left = {name: tensor for name, tensor in own.items() if name not in whole}
    metadata = {"moprune_delta": _FORMAT, "base": digest_of(left), "content": digest_of(content)}
    with replacing(Path(path)) as temporary:
        temporary.write_bytes(save(content, metadata))


@torch.no_grad()
def apply_delta(network: nn.Module, path: str | Path) -> None:
    """Puts what `save_delta` wrote into a network with the weights of the base.

    Args:
        network: is changed only if everything fits; it may be on any device.
        path: of the file.

    Raises:
        UsageError: the file is missing, damaged or no delta, or was made from another network or other weights.
    """
    content, base = _read(Path(path))
    own, _ = _tensors(network)
    factored = {name.removesuffix(_UP) for name in content if name.endswith(_UP)}
    whole = {name: value for name, value in content.items() if not name.endswith((_UP, _DOWN))}
    for name in sorted(factored | whole.keys()):
        if name not in own:
            raise UsageError(f"{path}: {type(network).__name__} has no tensor {name!r}; {_ADVICE}")
        if name in whole:
            _check_kind(name, whole[name], own[name], path)
    if digest_of({name: tensor for name, tensor in own.items() if name not in whole}) != base:
        raise UsageError(f"{path}: was made from other weights than this {type(network).__name__} has; {_ADVICE}")
    values = whole | {n: _merged(own[n], content[n + _UP], content[n + _DOWN]) for n in factored}
    for name, value in values.items():
        own[name].copy_(value)


def _read(path: Path) -> tuple[dict[str, Tensor], str]:
    """Returns the content of a delta and the digest of its base."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise UsageError(f"{path}: there is no such delta; check the path")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            content = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, OSError) as error:
        raise UsageError(f"{path}: is not a whole safetensors file ({error}); get it again") from error
    if "moprune_delta" not in metadata:
        raise UsageError(f"{path}: is no delta; load whole networks with load_weights()")
    if metadata["moprune_delta"] != _FORMAT:
        raise UsageError(f"{path}: is a delta of format {metadata['moprune_delta']}, not {_FORMAT}; update moprune")
    if metadata.get("content") != digest_of(content):
        raise UsageError(f"{path}: is damaged; get it again")
    return content, metadata.get("base", "")


def _tensors(network: nn.Module) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Returns the tensors in a network's state dict, tied ones once, and the name each of its names stands for."""
    state = {name: value for name, value in network.state_dict(keep_vars=True).items() if isinstance(value, Tensor)}
    names: dict[int, str] = {}
    first = {name: names.setdefault(id(value), name) for name, value in state.items()}
    return {name: state[name] for name in dict.fromkeys(first.values())}, first


def _merged(base: Tensor, up: Tensor, down: Tensor) -> Tensor:
    """Returns a tensor changed by factors on the CPU, where their products are the same wherever it lies."""
    return merged(base.detach().cpu(), Factors(up.detach().cpu(), down.detach().cpu()))


def _check_kind(name: str, value: Tensor, own: Tensor, where: str | Path) -> None:
    if (value.shape, value.dtype) != (own.shape, own.dtype):
        kinds = f"{tuple(value.shape)} {value.dtype} for {tuple(own.shape)} {own.dtype}"
        raise UsageError(f"{where}: {name} is {kinds}; {_ADVICE}")


def _same_bits(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are the same, with -0 unlike 0 and any not-a-number like itself."""
    bits = [tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8) for tensor in (one, other)]
    return torch.equal(*bits)
