"""What a frozen network sees in images: the numbers that reach its classifier."""

import hashlib
import inspect
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor, nn

from moprune.data.inputs import Inputs
from moprune.errors import MopruneError, UsageError
from moprune.networks.modes import device_of, evaluating, placed
from moprune.networks.preprocess import Preprocess
from moprune.networks.store import digest_of

Progress = Callable[[int, int], None]


def head_of(network: nn.Module) -> str:
    """Returns the name of a network's classifier: its last `nn.Linear` in the order modules were registered.

    ``fc`` in torchvision's ResNets, ``classifier.1`` in MobileNetV2, ``heads.head`` in vision transformers.

    Raises:
        UsageError: there is no linear layer below the network itself (SqueezeNet, for one).
    """
    names: list[str] = [name for name, module in network.named_modules() if name and isinstance(module, nn.Linear)]
    if not names:
        kind = type(network).__name__
        raise UsageError(f"{kind} has no linear classifier; name the module to take features from, features=NAME")
    return names[-1]


class FeatureExtractor:
    """A network up to its classifier: images (n, C, H, W) to features (n, D), float32.

    The network is used as it is (not copied), in evaluation mode and without gradients, and left in the modes
    and on the device it was on. What lies behind the features is not run, and may have any size.

    Args:
        network: any network whose forward takes a batch of images.
        features: a module (``"layer4"``) whose *output* is taken: maps (n, C, H, W) are averaged over H and
            W, anything else is flattened to (n, D). None for the *input* of the classifier, `head_of`.
        preprocess: what `extract` does to each image first; None for nothing but the scaling of uint8 values.

    Raises:
        UsageError: there is no such module, or no classifier.
    """

    def __init__(
        self, network: nn.Module, *, features: str | None = None, preprocess: Preprocess | None = None
    ) -> None:
        self.network = network
        self.features = features
        self.preprocess = Preprocess() if preprocess is None else preprocess
        self._name = head_of(network) if features is None else features
        modules = dict(network.named_modules())
        if not self._name or self._name not in modules:
            near = ", ".join(name for name, _ in network.named_children())
            raise UsageError(f"features: {type(network).__name__} has no module {self._name!r} (it has {near}, ...)")
        self._module = modules[self._name]

    def digest(self) -> str:
        """Returns the SHA-256 over all that decides the features, save the images.

        These are the parameters and buffers, the modules with their plain attributes, the source of classes
        that are not torch's, the place the features are taken from, and the preprocessing.
        """
        digest = hashlib.sha256()
        parts = [repr(self.network), str(self.features), self._name, repr(self.preprocess)]
        for name, module in self.network.named_modules():
            kind = type(module)
            plain = {key: value for key, value in vars(module).items() if key[0] != "_" and _is_plain(value)}
            plain.pop("training", None)
            parts.append(f"{name} {kind.__module__}.{kind.__qualname__} {sorted(plain.items())!r}")
        # A person who edits forward() must not get the features of the day before.
        parts += sorted({_source(type(module)) for module in self.network.modules()})
        # state_dict() leaves out buffers that are not persistent.
        tensors = {**dict(self.network.named_parameters()), **dict(self.network.named_buffers())}
        digest.update("\x1f".join([*parts, digest_of(tensors)]).encode())
        return digest.hexdigest()

    def __call__(self, batch: Tensor) -> Tensor:
        """Returns the features of a preprocessed batch.

        Args:
            batch: (n, C, H, W), moved to the network's device and type.

        Returns:
            float32 (n, D) on the network's device, without gradients.

        Raises:
            UsageError: the forward pass fails or never reaches the module, or that does not give one tensor.
        """
        with torch.no_grad():
            return self.forward(batch)

    def forward(self, batch: Tensor) -> Tensor:
        """Returns the features as a call does, with gradients where they are enabled."""
        if self.features is None:
            hook = self._module.register_forward_pre_hook(_stop_before)
        else:
            hook = self._module.register_forward_hook(_stop_after)
        kind = next((p.dtype for p in self.network.parameters() if p.is_floating_point()), batch.dtype)
        if batch.dtype == torch.int64:  # numbers of words
            kind = batch.dtype
        try:
            with evaluating(self.network):
                self.network(batch.to(device_of(self.network), kind))
        except _ReachedError as reached:
            found = reached.value
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            shape, reason = tuple(batch.shape), next(iter(str(error).splitlines()), "")
            advice = "check the images' size and channels against what it was made for"
            raise UsageError(f"{type(self.network).__name__} fails on images {shape} ({reason}); {advice}") from error
        else:
            raise UsageError(f"features: {type(self.network).__name__} never runs {self._name!r}; name another module")
        finally:
            hook.remove()
        if not isinstance(found, Tensor) or found.ndim < 2:
            raise UsageError(f"features: {self._name!r} does not give a tensor (n, ...); name another module")
        return (found.mean((2, 3)) if found.ndim == 4 else found.flatten(1)).float()

    def extract(
        self,
        inputs: Inputs,
        *,
        device: torch.device | str,
        batch_size: int = 64,
        progress: Progress | None = None,
    ) -> Tensor:
        """Returns the features of all images; reading and preprocessing overlap with the network's work.

        Args:
            inputs: n >= 1 images.
            device: where the network runs.
            batch_size: images at once; halved as often as the device's memory asks for. It changes the result
                by rounding only.
            progress: called with (images done, n) after each batch.

        Returns:
            float32 (n, D) on the CPU.

        Raises:
            UsageError: there are no images, they differ in size, or features are not finite.
            MopruneError: not even one image fits in the device's memory.
        """
        return together(self.blocks(inputs, device=device, batch_size=batch_size, progress=progress), len(inputs))

    def blocks(
        self,
        inputs: Inputs,
        *,
        device: torch.device | str,
        batch_size: int = 64,
        progress: Progress | None = None,
    ) -> Iterator[Tensor]:
        """Yields what `extract` returns, ``(m, D)`` at a time and in order, so that all of it need not be in memory."""
        total = len(inputs)
        if total == 0:
            raise UsageError("features: there are no images; check the data set")
        if batch_size < 1:
            raise UsageError(f"features: batch_size is {batch_size}; give at least 1")
        done = 0
        limit = batch_size
        with placed(self.network, torch.device(device)):
            for batch in self._batches(inputs, batch_size):
                values, limit = self._within_memory(batch, limit)
                finite = torch.isfinite(values).all(1)
                if not finite.all():
                    index = done + int(finite.logical_not().nonzero()[0])
                    advice = "check that image, the preprocessing (mean, std) and the network's weights"
                    raise UsageError(f"features of image {index} are not finite; {advice}")
                yield values
                done += len(values)
                if progress is not None:
                    progress(done, total)

    def _batches(self, inputs: Inputs, batch_size: int) -> Iterator[Tensor]:
        """Yields preprocessed batches in order, with the next two under way in other threads."""

        def read(index: int) -> Tensor:
            return self.preprocess(inputs[index])

        pool = ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1), thread_name_prefix="moprune-images")
        try:
            ahead: deque[list[Future[Tensor]]] = deque()
            for start in range(0, len(inputs), batch_size):
                ahead.append([pool.submit(read, i) for i in range(start, min(start + batch_size, len(inputs)))])
                if len(ahead) > 2:
                    yield _stacked([future.result() for future in ahead.popleft()])
            while ahead:
                yield _stacked([future.result() for future in ahead.popleft()])
        finally:
            pool.shutdown(cancel_futures=True)

    def _within_memory(self, batch: Tensor, limit: int) -> tuple[Tensor, int]:
        """Returns the features (n, D) on the CPU, and the batch size that was found to fit."""
        while True:
            try:
                return torch.cat([self(piece).cpu() for piece in batch.split(limit)]), limit
            except torch.OutOfMemoryError as error:
                if limit == 1:
                    raise MopruneError("one image does not fit in the device's memory; use a smaller size") from error
            # Outside the except clause, so that the failed pass and its tensors are already gone.
            limit = max(1, min(limit, len(batch)) // 2)
            torch.cuda.empty_cache()


def together(blocks: Iterable[Tensor], total: int) -> Tensor:
    """Returns blocks of rows as one tensor, each put in its place as it comes."""
    result: Tensor | None = None
    done = 0
    for values in blocks:
        if result is None:
            result = torch.empty(total, values.shape[1])
        result[done : done + len(values)] = values
        done += len(values)
    assert result is not None
    return result


class _ReachedError(Exception):
    """Carries the features out of a forward pass that has gone far enough."""

    def __init__(self, value: object) -> None:
        super().__init__()
        self.value = value


def _stop_before(_module: nn.Module, arguments: tuple[Any, ...]) -> None:
    raise _ReachedError(arguments[0] if arguments else None)


def _stop_after(_module: nn.Module, _arguments: tuple[Any, ...], output: object) -> None:
    raise _ReachedError(output)


def _stacked(images: list[Tensor]) -> Tensor:
    shapes = sorted({tuple(image.shape) for image in images})
    if len(shapes) > 1:
        advice = "give a Preprocess with resize and crop"
        raise UsageError(f"features: images of different sizes, {shapes[0]} and {shapes[-1]}; {advice}")
    return torch.stack(images)


def _is_plain(value: object) -> bool:
    if isinstance(value, tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


def _source(kind: type) -> str:
    if kind.__module__.split(".")[0] in ("torch", "torchvision"):
        return ""
    try:
        return inspect.getsource(kind)
    except (OSError, TypeError):  # typed at a prompt, or compiled
        return ""
