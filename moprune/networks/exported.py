"""Networks as files that run without moprune: torch.export and ONNX."""

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from moprune.errors import MopruneError, UsageError
from moprune.files import replacing
from moprune.networks.assembly import Assembled
from moprune.optional import require

Run = Callable[[Tensor], Tensor]
"""Preprocessed images ``(n, C, H, W)`` to logits ``(n, classes)``."""


@dataclass(frozen=True)
class ExportFormat:
    """A kind of file.

    Attributes:
        suffix: of its files.
        packages: what writing it needs, all brought by moprune's extra of the format's name.
        write: writes a network on the CPU, in evaluation mode, to a path of that suffix; the example is a batch of
            n >= 1 images that it accepts, and the file takes batches of any size n >= 1. ``UsageError`` where torch
            cannot trace the network.
        read: returns what runs a file.
    """

    suffix: str
    packages: tuple[str, ...]
    write: Callable[[nn.Module, Tensor, Path], None]
    read: Callable[[Path], Run]


def _write_torch_export(network: nn.Module, example: Tensor, path: Path) -> None:
    with _traced(network, example) as (traceable, arguments), replacing(path) as temporary:
        torch.export.save(torch.export.export(traceable, **arguments), temporary)


def _read_torch_export(path: Path) -> Run:
    network: Run = torch.export.load(path).module()
    return network


def _write_onnx(network: nn.Module, example: Tensor, path: Path) -> None:
    onnx = require("onnx", "onnx")
    with _traced(network, example) as (traceable, arguments), replacing(path) as temporary:
        # Of a module, some versions would go on with one recorded path where there are branches.
        program = torch.export.export(traceable, **arguments)
        torch.onnx.export(
            program, f=temporary, dynamo=True, external_data=False, verbose=False, input_names=["images"],
            output_names=["logits"],
        )  # fmt: skip
        onnx.checker.check_model(temporary, full_check=True)


def _read_onnx(path: Path) -> Run:
    session = require("onnxruntime", "onnx").InferenceSession(path, providers=["CPUExecutionProvider"])

    def run(images: Tensor) -> Tensor:
        (logits,) = session.run(["logits"], {"images": images.numpy()})
        return torch.from_numpy(logits)

    return run


FORMATS: Mapping[str, ExportFormat] = MappingProxyType(
    {
        "torch-export": ExportFormat(".pt2", (), _write_torch_export, _read_torch_export),
        "onnx": ExportFormat(".onnx", ("onnx", "onnxscript", "onnxruntime"), _write_onnx, _read_onnx),
    }
)


@contextmanager
def _traced(network: nn.Module, example: Tensor) -> Iterator[tuple[nn.Module, dict[str, Any]]]:
    """Yields a network that tracers follow, and their arguments; they are kept quiet, and fail in one line."""
    images = example[:1].repeat(2, 1, 1, 1)  # of a batch of one, torch would take the size for granted
    arguments = {"args": (images,), "dynamic_shapes": ({0: torch.export.Dim("n", max=2**31 - 1)},)}
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield _followed(network, images), arguments
    except MopruneError:
        raise
    except Exception as error:  # tracing runs a person's code, which can fail in any way
        reason = next(iter(str(error).splitlines()), "")
        raise UsageError(
            f"{type(network).__name__}: torch cannot trace its forward pass ({type(error).__name__}: {reason}); "
            "use state-dict"
        ) from error
    finally:
        logging.disable(level)


def _followed(network: nn.Module, images: Tensor) -> nn.Module:
    if not isinstance(network, Assembled):
        return network
    # Its backbone is left by an exception once the features are there, and torch.export loses count of the modules. A
    # graph of operations knows of neither.
    from torch.fx.experimental.proxy_tensor import make_fx

    graph: nn.Module = make_fx(network, tracing_mode="symbolic", pre_dispatch=True, _allow_non_fake_inputs=True)(images)
    return graph
