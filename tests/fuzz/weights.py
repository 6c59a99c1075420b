"""Targets that read networks: files of weights, deltas, and the descriptions of exported networks and ensembles."""

import io
import json
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from safetensors.torch import save, save_file
from torch import nn

from analysis.ensembles.export import DESCRIPTION, WEIGHTS, HeadVote, load_ensemble
from moprune.networks import FeatureExtractor, Preprocess
from moprune.networks.assembly import with_head
from moprune.networks.delta import apply_delta, save_delta
from moprune.networks.heads import HeadSpec, TrainedHead, initial_weights
from moprune.networks.saved import describe, load_network, save_network
from moprune.networks.slimming import slim
from moprune.networks.weights import load_weights
from tests.fuzz.oracle import Target, refused, scratch


class _Ran(BaseException):
    """A pickle was run."""


def _ran(*_: object) -> None:
    raise _Ran


class Hostile:
    """Says so where it is unpickled."""

    def __reduce__(self) -> tuple[Callable[..., None], tuple[()]]:
        return _ran, ()


def _network() -> nn.Module:
    return nn.Sequential(OrderedDict(conv=nn.Conv2d(1, 2, 3), flat=nn.Flatten(), fc=nn.Linear(8, 3)))


def read_safetensors(data: bytes) -> None:
    """Loads a file as weights and as a delta."""
    path = scratch("safetensors") / "w.safetensors"
    path.write_bytes(data)
    for load in (load_weights, apply_delta):
        with refused("w.safetensors"):
            load(_network(), path)


def safetensors() -> list[bytes]:
    """Returns weights that fit, a delta, and headers that lie."""
    base = _network()
    whole = save(dict(base.state_dict()))
    path = scratch("deltas") / "delta.safetensors"
    save_delta(path, base, {"fc.bias": torch.ones(3)})

    def headed(header: Any, body: bytes = b"") -> bytes:
        text = json.dumps(header).encode()
        return len(text).to_bytes(8, "little") + text + body

    far = {"fc.bias": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}
    return [
        whole, path.read_bytes(), whole[:-5], b"", (1 << 62).to_bytes(8, "little"), headed(far), headed([]),
        headed({"__metadata__": {"moprune_delta": "1", "content": "", "base": "\x1b[2J\n"}}),
        headed({"a": {"dtype": "F64", "shape": [0], "data_offsets": [0, 0]}}),
    ]  # fmt: skip


def read_state_dict(data: bytes) -> None:
    """Loads a file that torch.save may have written, or its pickle alone in an archive whose sums are right."""
    path = scratch("state_dict") / "w.pth"
    path.write_bytes(data)
    with refused("w.pth"):
        load_weights(_network(), path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("w/data.pkl", data)
        archive.writestr("w/version", "3\n")
        archive.writestr("w/byteorder", "little")
        for number in range(3):
            archive.writestr(f"w/data/{number}", bytes(64))
    with refused("w.pth"):
        load_weights(_network(), path)


def state_dicts() -> list[bytes]:
    """Returns what torch.save writes of states and of other things, in both of its forms, and the pickles inside."""
    state = _network().state_dict()
    things: list[Any] = [
        state, {"state_dict": state}, {"module.fc.bias": torch.zeros(3)}, [1, "a", None], {"a": 1.5},
        {"sparse": torch.eye(3).to_sparse()}, {"half": torch.zeros(2, 2).half()}, {"fc.bias": torch.zeros(9)[::3]},
        {"x": Hostile()}, _network(),
    ]  # fmt: skip
    found = []
    for thing in things:
        for zipped in (True, False):
            buffer = io.BytesIO()
            torch.save(thing, buffer, _use_new_zipfile_serialization=zipped)
            found.append(buffer.getvalue())
            if zipped:
                with zipfile.ZipFile(buffer) as archive:
                    found.append(archive.read("archive/data.pkl"))
    return [*found, b"", found[0][:200], b"\x80\x02cos\nsystem\nU\x04trueq\x00\x85R."]


@cache
def _exported() -> tuple[bytes, bytes]:
    """Writes a saved network and an ensemble for :func:`read_description`; returns what describes them."""
    folder = scratch("description")
    spec = HeadSpec(8, (4,), 3)
    extractor = FeatureExtractor(_network(), preprocess=Preprocess(resize=4, mode="L"))
    masks = (torch.arange(8) % 3 == 0, torch.ones(4, dtype=torch.bool))
    kept = masks[0].nonzero()[:, 0]
    head = TrainedHead(spec, kept, initial_weights(spec, 0).compact(masks), epochs=1)
    example = torch.rand(2, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    slimmed = slim(with_head(extractor, head.module()), example)
    description = describe(
        extractor, spec, kept=kept.tolist(), widths=head.widths, example=example, classes=["a", "b", "c"]
    )
    save_network(slimmed, folder / "net.safetensors", description)
    vote = with_head(extractor, HeadVote([head.module()]))
    save_file({name: value.clone() for name, value in vote.state_dict().items()}, folder / WEIGHTS)
    members = [{"solution": "1-0", "votes": 1, "widths": list(head.widths)}]
    return json.dumps(description).encode(), json.dumps({**description, "format": 1, "members": members}).encode()


def read_description(data: bytes) -> None:
    """Loads a network and an ensemble by a description."""
    _exported()
    folder = scratch("description")
    for name in ("net.json", DESCRIPTION):
        (folder / name).write_bytes(data)
    with refused("net.json", "net.safetensors"):
        load_network(folder / "net.safetensors", _network())
    with refused(str(folder)):
        load_ensemble(folder, _network())


def descriptions() -> list[bytes]:
    """Returns the descriptions of a network and of an ensemble, and some that say what cannot be."""
    network, ensemble = _exported()
    said = json.loads(network)

    def but(**changes: Any) -> bytes:
        return json.dumps({**said, **changes}).encode()

    head = said["head"]
    return [
        network, ensemble, b"", b"[]", b"null", b"\xff", b"[" * 5000, but(kept=[0, 99], widths=[2, 4]),
        but(kept=[-1], widths=[1, 4]), but(widths=[10**12, 4]), but(features="no.such"), but(features=3),
        but(head={**head, "hidden": [10**12]}, widths=[3, 10**12]), but(head={**head, "activation": "x"}),
        but(input={"shape": ["n", 1, 10**6, 10**6]}), but(input={"shape": ["n", 3, 4, 4]}), but(kept="abc"),
        but(head={**head, "classes": 10**13}), but(preprocess={"mean": ["a"]}), but(head={"\x1b": 1}),
    ]  # fmt: skip


TARGETS = {
    "safetensors": Target(read_safetensors, safetensors),
    "state_dict": Target(read_state_dict, state_dicts),
    "description": Target(read_description, descriptions),
}
