"""Networks by name: the CIFAR ResNets, torchvision's classifiers, or a person's own function."""

import importlib
import logging
import re
from pathlib import Path
from typing import Any

import torch
from torch import nn

from moprune.errors import UsageError, not_one_of
from moprune.networks.cifar_resnet import DEPTHS, cifar_resnet
from moprune.networks.features import head_of
from moprune.networks.initial import seeded
from moprune.networks.weights import fill, read_weights

logger = logging.getLogger(__name__)

_CIFAR = {f"cifar_resnet{depth}": depth for depth in DEPTHS}
# Without the classifiers used in training only; the published files expect the inputs of their first authors.
_INCEPTIONS = ("googlenet", "inception_v3")


def build(
    arch: str,
    *,
    num_classes: int | None = None,
    in_channels: int = 3,
    seed: int = 0,
    **options: Any,
) -> nn.Module:
    """Returns a network by name, with random initial weights.

    Args:
        arch: ``cifar_resnet20`` (32, 44, 56), a torchvision classifier (``resnet18``, ``mobilenet_v2``, ...),
            or ``package.module:function`` for a function without arguments that returns a network. **The last
            imports and runs that module**, and the weights are what the function makes them.
        num_classes: outputs; None for the architecture's own (10 for CIFAR, 1,000 for torchvision).
        in_channels: of the input images; for torchvision, other than 3 makes a new first convolution.
        seed: of the initial weights.
        **options: passed on to a torchvision constructor (``image_size=384``).

    Raises:
        UsageError: the name is not known, or the function cannot be imported, fails or returns no network.
    """
    for name, value in (("num_classes", num_classes), ("in_channels", in_channels)):
        if value is not None and value < 1:
            raise UsageError(f"network {arch!r}: {name} is {value}; give at least 1")
    if ":" in arch:
        if num_classes is not None or in_channels != 3 or options:
            raise UsageError(f"network {arch!r} is called without arguments; leave num_classes and the like out")
        return _made_by(arch, seed)
    if arch in _CIFAR:
        if options:
            raise UsageError(f"network {arch!r} has no option {', '.join(options)}; leave it out")
        return cifar_resnet(_CIFAR[arch], 10 if num_classes is None else num_classes, in_channels, seed=seed)
    return _torchvision(arch, num_classes, in_channels, seed, options)


def published(arch: str, weights: str) -> Any:
    """Returns torchvision's weights enum member of a network by name (``"IMAGENET1K_V1"``, ``"DEFAULT"``).

    Nothing is downloaded. ``Preprocess.from_weights`` takes the result.

    Raises:
        UsageError: torchvision publishes no such weights for this network.
    """
    import torchvision.models

    names = torchvision.models.list_models(module=torchvision.models)
    if arch not in names:
        raise not_one_of("torchvision network", arch, names)
    members = torchvision.models.get_model_weights(arch).__members__
    name = weights.rpartition(".")[2]  # "ResNet18_Weights.DEFAULT" is as good as "DEFAULT"
    if name not in members:
        raise not_one_of(f"weights of {arch}", weights, members)
    return members[name]


def pretrained(
    arch: str,
    weights: str | Path | None = None,
    *,
    num_classes: int | None = None,
    in_channels: int = 3,
    seed: int = 0,
) -> nn.Module:
    """Returns a trained network by name, frozen (no gradients) and in evaluation mode.

    Args:
        arch: as for `build`.
        weights: the name of weights torchvision publishes (``"IMAGENET1K_V2"``, ``"DEFAULT"``; fetched once),
            a file (`load_weights`), or ``"random"`` for initial weights. May be left out only for
            ``package.module:function``, which returns its network trained.
        num_classes: outputs; None for as many as the weights have.
        in_channels: of the input images.
        seed: of ``"random"`` weights.

    Raises:
        UsageError: no weights are given, they are not known, do not fit or cannot be fetched.
    """
    own = ":" in arch
    if weights is None and not own:
        advice = "name published ones (DEFAULT), a file, or say 'random' for initial weights"
        raise UsageError(f"network {arch!r} is given no weights; {advice}")
    options: dict[str, Any] = {"num_classes": num_classes, "in_channels": in_channels, "seed": seed}
    if weights is None or weights == "random":
        network = build(arch, **options)
    elif _is_file(weights):
        network = _from_file(arch, Path(weights), options)
    elif own or arch in _CIFAR:
        raise UsageError(f"network {arch!r} has no published weights {str(weights)!r}; give the path of a file")
    else:
        network = _from_torchvision(arch, published(arch, str(weights)), options)
    return network.requires_grad_(False).eval()


def _is_file(weights: str | Path) -> bool:
    path = Path(weights)
    # Published weights' names have neither a folder nor such an ending: a mistyped path is told as one.
    named_like_one = path.suffix in (".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".tar") or len(path.parts) > 1
    return isinstance(weights, Path) or named_like_one or path.is_file()


def _from_file(arch: str, path: Path, options: dict[str, Any]) -> nn.Module:
    state = read_weights(path)
    network = build(arch, **options)
    if options["num_classes"] is None and ":" not in arch and any(isinstance(m, nn.Linear) for m in network.modules()):
        head = network.get_submodule(name := head_of(network))
        found = state.get(f"{name}.weight")
        if found is not None and found.ndim == 2 and len(found) != head.out_features:
            network = build(arch, **{**options, "num_classes": len(found)})
    fill(network, state, str(path))
    return network


def _from_torchvision(arch: str, member: Any, options: dict[str, Any]) -> nn.Module:
    classes = len(member.meta["categories"])
    if options["num_classes"] not in (None, classes) or options["in_channels"] != 3:
        raise UsageError(f"{member} are for {classes} classes and 3 channels; leave num_classes and in_channels out")
    if arch.startswith("vit_"):  # its position embedding is made for one size
        options = options | {"image_size": member.meta["min_size"][0]}
    path = _fetched(member.url)
    network = build(arch, **options)
    fill(network, read_weights(path), str(path))
    return network


def _fetched(url: str) -> Path:
    """Returns torch.hub's file for a URL, downloading it (and checking its digest) if it is not there."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if path.is_file():
        return path
    digest = re.search(r"-([a-f0-9]+)\.", path.name)  # the names of published files end in part of their SHA-256
    logger.info("fetching %s", url)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), digest[1] if digest else None, progress=False)
    except (
        OSError,
        RuntimeError,
    ) as error:  # URLError and HTTPError are OSErrors; a wrong digest a RuntimeError
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        advice = "fetch it where there is a network and pass weights=PATH"
        raise UsageError(f"cannot fetch {url} to {path} ({reason}); {advice}") from error
    return path


def _torchvision(arch: str, num_classes: int | None, in_channels: int, seed: int, options: dict[str, Any]) -> nn.Module:
    import torchvision.models

    names = torchvision.models.list_models(module=torchvision.models)
    if arch not in names:
        raise not_one_of("network", arch, [*_CIFAR, *names])
    if num_classes is not None:
        options = options | {"num_classes": num_classes}
    if arch in _INCEPTIONS:
        options = {"aux_logits": False, "transform_input": in_channels == 3, "init_weights": True} | options
    with seeded(seed):
        network: nn.Module = torchvision.models.get_model(arch, weights=None, **options)
        if in_channels != 3:
            _widen_input(network, in_channels)
    return network


def _widen_input(network: nn.Module, in_channels: int) -> None:
    """Replaces the first convolution by one for another number of input channels."""
    name, old = next((n, m) for n, m in network.named_modules() if isinstance(m, nn.Conv2d))
    new = nn.Conv2d(
        in_channels,
        old.out_channels,
        old.kernel_size,  # type: ignore[arg-type]
        stride=old.stride,  # type: ignore[arg-type]
        padding=old.padding,  # type: ignore[arg-type]
        bias=old.bias is not None,
    )
    network.set_submodule(name, new)


def _made_by(reference: str, seed: int) -> nn.Module:
    """Imports ``package.module:function`` and returns the network the function makes."""
    module_name, _, name = reference.partition(":")
    try:
        function = getattr(importlib.import_module(module_name), name)
    except Exception as error:  # importing runs a person's code, which can fail in any way
        advice = "check the spelling, and that the module can be imported from here"
        raise UsageError(f"network {reference!r} cannot be imported ({_said(error)}); {advice}") from error
    try:
        with seeded(seed):
            network = function()
    except Exception as error:
        advice = "it is called without arguments and must return a network"
        raise UsageError(f"network {reference!r} failed ({_said(error)}); {advice}") from error
    if not isinstance(network, nn.Module):
        kind = type(network).__name__
        raise UsageError(f"network {reference!r} returned {kind}; it must return a torch.nn.Module")
    return network


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
