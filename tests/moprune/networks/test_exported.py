"""Exported networks are run by the programs they are for: torch alone, onnxruntime."""

import json
import subprocess
import sys

import pytest
import torch
from torch import nn

from moprune.errors import UsageError
from moprune.networks import FeatureExtractor, cifar_resnet, parameters
from moprune.networks.assembly import with_head
from moprune.networks.exported import FORMATS
from moprune.networks.heads import HeadSpec, TrainedHead, initial_weights
from moprune.networks.slimming import slim
from moprune.seeding import torch_generator

WITHOUT_MOPRUNE = """
import json, sys
sys.modules |= dict.fromkeys(["moprune", "problems", "analysis", "experiments"])  # importing them fails
import torch
network = torch.export.load(sys.argv[1]).module()
images = torch.tensor(json.load(sys.stdin))
print(json.dumps([network(images[:n]).tolist() for n in (1, 2, 5)]))
"""


def images(count):
    return torch.randn(count, 3, 32, 32, generator=torch_generator(0, "images"))


def pruned(network, features=None):
    """A pruned network and the same slimmed."""
    extractor = FeatureExtractor(network.eval(), features=features)
    spec = HeadSpec(extractor(images(2)).shape[1], (8,), 3)
    masks = spec.all_on()
    masks[0][::3] = False
    head = TrainedHead(spec, masks[0].nonzero()[:, 0], initial_weights(spec, 0).compact(masks), 0)
    whole = with_head(extractor, head.module())
    return whole, slim(whole, images(2))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Folder with a CIFAR ResNet in every format, and the logits of the network before slimming on five images."""
    folder = tmp_path_factory.mktemp("exported")
    whole, slimmed = pruned(cifar_resnet(20))
    for form in FORMATS.values():
        form.write(slimmed, images(2), folder / f"net{form.suffix}")
    with torch.no_grad():
        return folder, whole(images(5)), slimmed


def test_torch_export_runs_in_a_process_without_moprune(written):
    folder, logits, _ = written
    run = subprocess.run(
        [sys.executable, "-I", "-c", WITHOUT_MOPRUNE, str(folder / "net.pt2")], input=json.dumps(images(5).tolist()),
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    for found, count in zip(json.loads(run.stdout), (1, 2, 5), strict=True):
        torch.testing.assert_close(torch.tensor(found), logits[:count], rtol=1e-4, atol=1e-4)


def test_onnx_is_sound_and_runs_batches_of_any_size(written):
    import onnx
    import onnxruntime

    folder, logits, slimmed = written
    model = onnx.load(folder / "net.onnx")
    onnx.checker.check_model(model, full_check=True)
    stored = sum(onnx.numpy_helper.to_array(each).size for each in model.graph.initializer)
    # Constant operations become part of the convolutions beside them; nothing that slimming removed comes back.
    assert stored <= parameters(slimmed) + sum(buffer.numel() for buffer in slimmed.buffers())
    session = onnxruntime.InferenceSession(folder / "net.onnx", providers=["CPUExecutionProvider"])
    assert [(i.name, i.shape[1:], i.type) for i in session.get_inputs()] == [("images", [3, 32, 32], "tensor(float)")]
    for count in (1, 2, 5):
        (found,) = session.run(["logits"], {"images": images(count).numpy()})
        torch.testing.assert_close(torch.from_numpy(found), logits[:count], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("form", FORMATS)
def test_the_file_is_one_and_is_read_back(written, form):
    folder, logits, _ = written
    torch.testing.assert_close(FORMATS[form].read(folder / f"net{FORMATS[form].suffix}")(images(5)), logits,
                               rtol=1e-4, atol=1e-4)  # fmt: skip
    assert {path.name for path in folder.iterdir()} == {f"net{each.suffix}" for each in FORMATS.values()}


@pytest.mark.parametrize("form", FORMATS)
def test_networks_that_end_at_a_named_module_are_written_too(tmp_path, form):
    network = nn.Sequential(
        nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Conv2d(5, 9, 3, stride=4), nn.Flatten(), nn.Linear(7, 2)
    )  # its own classifier does not fit these images, and is not run
    whole, slimmed = pruned(network, features="3")
    path = tmp_path / f"net{FORMATS[form].suffix}"
    FORMATS[form].write(slimmed, images(1), path)
    with torch.no_grad():
        torch.testing.assert_close(FORMATS[form].read(path)(images(3)), whole(images(3)), rtol=1e-4, atol=1e-4)


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 2)

    def forward(self, x):
        y = x.mean((2, 3))
        return self.linear(y if y.sum() > 0 else -y)


@pytest.mark.parametrize("form", FORMATS)
def test_a_network_that_cannot_be_traced_is_told_in_a_line(tmp_path, form):
    with pytest.raises(UsageError, match="Branching: torch cannot trace its forward pass") as caught:
        FORMATS[form].write(Branching().eval(), images(2), tmp_path / f"net{FORMATS[form].suffix}")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
