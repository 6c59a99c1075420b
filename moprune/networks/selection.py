"""Choosing tensors of a network by name, and taking their values out of it."""

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from itertools import accumulate, chain
from types import MappingProxyType

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from moprune.errors import UsageError
from moprune.networks.features import head_of

State = dict[str, Tensor]
"""Some of a network's parameters and buffers by their names in its state dict; float32, detached."""

_NORMALISATIONS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


def _of_modules(network: nn.Module, kinds: type[nn.Module] | tuple[type[nn.Module], ...]) -> set[str]:
    """Returns the names of the parameters that modules of some kinds own themselves."""
    modules = ((prefix, module) for prefix, module in network.named_modules() if isinstance(module, kinds))
    return {
        f"{prefix}.{own}".lstrip(".") for prefix, module in modules for own, _ in module.named_parameters("", False)
    }


def _all(network: nn.Module) -> set[str]:
    return {name for name, _ in network.named_parameters()}


def _convolutions(network: nn.Module) -> set[str]:
    return {name for name in _of_modules(network, _ConvNd) if name.rpartition(".")[2] == "weight"}


def _norms(network: nn.Module) -> set[str]:
    return _of_modules(network, _NORMALISATIONS)


def _head(network: nn.Module) -> set[str]:
    prefix = head_of(network)
    return {f"{prefix}.{own}" for own, _ in network.get_submodule(prefix).named_parameters()}


def _class_biases(network: nn.Module) -> set[str]:
    return {name for name in _head(network) if name.endswith("bias")}


def _biases(network: nn.Module) -> set[str]:
    # bias, bias_ih_l0 of recurrent layers, in_proj_bias of attention
    return {name for name in _all(network) if name.rpartition(".")[2].startswith("bias") or name.endswith("bias")}


KINDS: Mapping[str, Callable[[nn.Module], set[str]]] = MappingProxyType(
    {
        "all": _all,
        "convolutions": _convolutions,
        "norms": _norms,
        "head": _head,
        "class_biases": _class_biases,
        "biases": _biases,
    }
)
"""Kinds of parameters by name: everything, weights of convolutions, affine parameters of normalisation layers, the
classifier (`head_of`), its bias for each class, everything called a bias. A kind comes before a module of that name."""


def select(network: nn.Module, patterns: Sequence[str]) -> tuple[str, ...]:
    """Returns the names of the parameters that any of the patterns names, in the network's order, each once.

    Args:
        network: is only looked at.
        patterns: each a kind in `KINDS`, or the dotted name of a parameter or of a module, which stands for all
            the parameters in it. Names may hold the wildcards ``*``, ``?`` and ``[...]`` of `fnmatch`; ``*`` matches
            dots too. A parameter with several names (tied weights) goes by its first, and can be asked for by any.

    Returns:
        Names as in ``network.named_parameters()``, of floating-point parameters only.

    Raises:
        UsageError: there are no patterns, one of them names nothing, or it is ``head`` where there is no classifier.
    """
    if isinstance(patterns, str) or not patterns:
        raise UsageError(f"parameters: {patterns!r}; give a list of kinds ({', '.join(KINDS)}) or names")
    parameters = {name: p for name, p in network.named_parameters(remove_duplicate=False) if p.is_floating_point()}
    chosen: set[int] = set()
    for pattern in patterns:
        named = KINDS[pattern](network) if pattern in KINDS else {n for n in parameters if _names(pattern, n)}
        found = {id(parameters[name]) for name in named if name in parameters}
        if not found:
            raise _names_nothing(network, pattern)
        chosen |= found
    return tuple(name for name, parameter in network.named_parameters() if id(parameter) in chosen)


def state_of(network: nn.Module, names: Sequence[str] | None = None) -> State:
    """Returns copies of a network's tensors on the CPU, float32.

    Args:
        network: is only read.
        names: parameters or buffers; None for all floating-point ones of the state dict, running statistics of
            normalisation layers included. Tied weights are there once, under their first name.

    Raises:
        UsageError: the network has no floating-point tensor of such a name.
    """
    saved = network.state_dict().keys()
    tensors = {
        name: tensor
        for name, tensor in chain(network.named_parameters(), network.named_buffers())
        if name in saved and tensor.is_floating_point()
    }
    chosen = tensors.keys() if names is None else names
    for name in chosen:
        if name not in tensors:
            hint = _near(name, tensors)
            raise UsageError(f"{type(network).__name__} has no floating-point tensor {name!r}{hint}")
    return {name: tensors[name].detach().clone().cpu().float() for name in chosen}


def norm_statistics(network: nn.Module) -> tuple[str, ...]:
    """Returns the names of the running means and variances of a network's normalisation layers, in its order."""
    ends = ("running_mean", "running_var")
    return tuple(name for name, _ in network.named_buffers() if name.rpartition(".")[2] in ends)


def _names(pattern: str, name: str) -> bool:
    """Whether a pattern matches a parameter's name or that of a module around it."""
    return any(fnmatchcase(prefix, pattern) for prefix in accumulate(name.split("."), "{}.{}".format))


def _names_nothing(network: nn.Module, pattern: str) -> UsageError:
    known = [*KINDS, *(name for name, _ in network.named_modules() if name), *_all(network)]
    children = ", ".join(name for name, _ in network.named_children())
    advice = f"give a kind ({', '.join(KINDS)}) or the name of a module ({children}) or parameter"
    kind = type(network).__name__
    return UsageError(f"parameters: {kind} has no {pattern!r}{_near(pattern, known)}; {advice}")


def _near(name: str, known: Sequence[str] | Mapping[str, object]) -> str:
    near = get_close_matches(name, list(known), n=3)
    return f" (did you mean {' or '.join(map(repr, near))}?)" if near else ""
