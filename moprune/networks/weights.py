"""Weights from a file into a network: tensors only, checked by name, shape and value, never unpickled."""

import re
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from moprune.errors import UsageError

# Where training scripts put the weights among other things, and what wrappers put before each name.
_NESTED = ("state_dict", "model_state_dict", "model")
_PREFIXES = ("module.", "_orig_mod.")
# Classifiers used by GoogLeNet and Inception during training only; torchvision drops them too.
_AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")
# torchvision's DenseNet files spell "norm1" as "norm.1".
_OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")


def load_weights(network: nn.Module, path: str | Path) -> None:
    """Loads a file of weights into ``network``: every parameter and buffer, no more and no less.

    Values are cast to the network's types (a file may hold float16). Names may carry the prefix of
    ``DataParallel`` or ``torch.compile``; the weights may lie under ``state_dict`` or ``model`` in the file.

    Args:
        network: is changed only if everything fits.
        path: a ``.safetensors`` file, or one written by ``torch.save`` that holds only tensors and plain
            values.

    Raises:
        UsageError: the file is missing, damaged or holds pickled objects; names or shapes differ; or a value
            is not finite.
    """
    fill(network, read_weights(path), str(path))


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Returns the tensors in a file of weights by name, on the CPU, without wrappers' prefixes.

    Raises:
        UsageError: the file is missing, damaged, holds pickled objects, or holds no tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError(f"{path}: there is no such file of weights; check the path")
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    if isinstance(content, Mapping):
        nested = next((content[key] for key in _NESTED if isinstance(content.get(key), Mapping)), None)
        content = content if nested is None else nested
    if not isinstance(content, Mapping) or not any(isinstance(value, Tensor) for value in content.values()):
        raise UsageError(f"{path}: holds no tensors by name; save the network's state_dict() there")
    state = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    for prefix in _PREFIXES:
        if all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): value for name, value in state.items()}
    return {_OLD_DENSENET.sub(r"\1\2", name): value for name, value in state.items()}


def fill(network: nn.Module, weights: Mapping[str, Tensor], source: str) -> None:
    """Puts ``weights`` into ``network`` as `load_weights` does; ``source`` is named in errors."""
    state = network.state_dict()
    own = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    dropped = tuple(prefix for prefix in _AUXILIARY if not any(name.startswith(prefix) for name in own))
    given = {name: value for name, value in weights.items() if not name.startswith(dropped)}
    # Files older than torch 0.4.1 do not have this counter, which only training reads.
    missing = [name for name in own if name not in given and not name.endswith("num_batches_tracked")]
    unexpected = [name for name in given if name not in own]
    misshaped = [
        f"{name} {tuple(given[name].shape)} for {tuple(value.shape)}"
        for name, value in own.items()
        if name in given and given[name].shape != value.shape
    ]
    faults = {"missing": missing, "unexpected": unexpected, "of another shape": misshaped}
    if any(faults.values()):
        said = "; ".join(f"{what}: {_first_three(names)}" for what, names in faults.items() if names)
        advice = "choose the network they were saved from, and its num_classes"
        raise UsageError(f"{source}: the weights do not fit {type(network).__name__} ({said}); {advice}")
    for name, value in own.items():
        if name in given:
            state[name] = given[name].to(value.dtype)
            if not torch.isfinite(state[name]).all():
                raise UsageError(f"{source}: {name} has values that are not finite; use weights that are")
    network.load_state_dict(state)


def _read_safetensors(path: Path) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise UsageError(f"{path}: is not a whole safetensors file ({error}); get it again") from error


def _read_torch(path: Path) -> Any:
    if _is_script(path):
        raise UsageError(f"{path}: is a TorchScript program; save a state dict of its network and give that")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        # A name after GLOBAL means a well-formed pickle that asks for a class; anything else is not a pickle.
        asked = re.search(r"GLOBAL (\S+)", str(error))
        if asked is None:
            raise _damaged(path, error) from error
        raise UsageError(
            f"{path}: holds pickled objects ({asked[1]}), which could run any code and are not loaded; "
            "save a state dict, torch.save(network.state_dict(), path), and give that"
        ) from error
    except Exception as error:  # torch.load fails in many ways on bytes that are not its own
        raise _damaged(path, error) from error


def _is_script(path: Path) -> bool:
    # torch.load would warn, and advise loading without a check.
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):  # torch.load will say that it is damaged
        return False


def _damaged(path: Path, error: Exception) -> UsageError:
    # Not torch's message: it advises loading without a check.
    return UsageError(f"{path}: is not a whole file that torch.save wrote ({type(error).__name__}); get it again")


def _first_three(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
