import json

import pytest
import torch

from moprune.errors import UsageError
from moprune.networks import DigitsNet, FeatureExtractor, Preprocess, build, parameters
from moprune.networks.assembly import with_head
from moprune.networks.heads import HeadSpec, TrainedHead, initial_weights
from moprune.networks.saved import describe, load_network, save_network
from moprune.networks.slimming import slim
from moprune.seeding import torch_generator


def saved(path, *, features=None, hidden=(6,), widths=(5, 4), notes=None):
    """Returns the network that was saved, slimmed, and the same before slimming."""
    extractor = FeatureExtractor(build("cifar_resnet20", seed=1), features=features, preprocess=Preprocess(resize=32))
    spec = HeadSpec(64, hidden, 3, activation="tanh", hidden_bias=True)
    masks = tuple(torch.zeros(size, dtype=torch.bool) for size in spec.units)
    for mask, width in zip(masks, widths, strict=True):
        mask[torch.linspace(0, len(mask) - 1, width).long()] = True
    kept = masks[0].nonzero()[:, 0]
    head = TrainedHead(spec, kept, initial_weights(spec, 0).compact(masks), epochs=1)
    whole = with_head(extractor, head.module())
    example = torch.rand(2, 3, 32, 32, generator=torch_generator(0, "example"))
    slimmed = slim(whole, example)
    description = describe(
        extractor, spec, kept=kept.tolist(), widths=head.widths, example=example, classes=["a", "b", "c"], notes=notes
    )
    assert save_network(slimmed, path, description) == [path, path.with_suffix(".json")]
    return slimmed, whole


@pytest.mark.parametrize("features", [None, "layer3"])
@pytest.mark.parametrize(("hidden", "widths"), [((), (5,)), ((6, 4), (10, 3, 4)), ((6,), (0, 0)), ((), (64,))])
def test_heads_of_every_shape_and_place_are_read_back(tmp_path, features, hidden, widths):
    path = tmp_path / "net.safetensors"
    slimmed, whole = saved(path, features=features, hidden=hidden, widths=widths)
    again = load_network(path, build("cifar_resnet20", seed=2))
    images = torch.rand(2, 3, 32, 32, generator=torch_generator(1, "images"))
    with torch.no_grad():
        assert torch.equal(again(images), slimmed(images))
        torch.testing.assert_close(again(images), whole(images))
    assert parameters(again) == parameters(slimmed)
    assert (parameters(again) < parameters(whole)) == (widths[0] < 64)


def test_the_description_says_what_other_programs_need(tmp_path):
    path = tmp_path / "net.safetensors"
    saved(path, notes={"solution": "1-2"})
    description = json.loads(path.with_suffix(".json").read_text())
    assert description["input"]["shape"] == ["n", 3, 32, 32]
    assert description["preprocess"]["resize"] == 32
    assert (description["classes"], description["solution"]) == (["a", "b", "c"], "1-2")
    assert len(description["kept"]) == description["widths"][0]


def test_broken_exports_are_refused(tmp_path):
    with pytest.raises(UsageError, match="describes no saved network"):
        load_network(tmp_path / "none.safetensors", DigitsNet(5))
    (tmp_path / "x.json").write_text('{"format": 1}')
    with pytest.raises(UsageError, match="another version"):
        load_network(tmp_path / "x.safetensors", DigitsNet(5))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("kept", [1]), ("widths", [5]), ("kept", "abc"), ("input", {}), ("kept", [0, 1, 2, 3, 64]), ("features", 3),
        ("widths", [5, 10**12]), ("widths", [5, -1]), ("input", {"shape": ["n", 3, 10**6, 10**6]}),
        ("input", {"shape": ["n", 1, 32, 32]}),
        ("head", {"features": 64, "hidden": [6], "classes": 3, "activation": "x"}),
    ],
)  # fmt: skip
def test_a_description_that_contradicts_itself_is_refused(tmp_path, key, value):
    path = tmp_path / "net.safetensors"
    saved(path)
    described = path.with_suffix(".json")
    described.write_text(json.dumps(json.loads(described.read_text()) | {key: value}))
    with pytest.raises(UsageError, match=r"net\.json"):
        load_network(path, build("cifar_resnet20"))


def test_another_backbone_is_refused(tmp_path):
    path = tmp_path / "net.safetensors"
    saved(path)
    with pytest.raises(UsageError):
        load_network(path, build("cifar_resnet32"))
