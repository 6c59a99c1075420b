import os
import tarfile
from pathlib import Path

import pytest
import torch

from moprune.data import (
    Source,
    Split,
    SplitPlan,
    TensorInputs,
    corrupted,
    default_plan,
    divide,
    open_digits,
    open_folder,
    open_tar,
)
from moprune.errors import UsageError


def packed(root, arcname):
    tar = root.with_suffix(".tar")
    with tarfile.open(tar, "w") as archive:
        archive.add(root, arcname=arcname)
    return tar


def content(source):
    return source.classes, {name: (part.labels.tolist(), part.digest()) for name, part in source.subsets.items()}


def numbered(**counts):
    """A source of two classes whose items are all different, with that many in each subset."""
    subsets, first = {}, 0
    for name, count in counts.items():
        values = torch.arange(first, first + count).float().unsqueeze(1)
        subsets[name] = Split(TensorInputs(values), torch.arange(count) % 2)
        first += count
    return Source(("even", "odd"), subsets)


def values(split):
    return {float(item) for item in split.inputs}


@pytest.mark.parametrize(
    ("layout", "subsets"),
    [
        ({"dog": 3, "cat": 2}, {"all": [0, 0, 1, 1, 1]}),
        (
            {"train/dog": 2, "train/cat": 1, "test/cat": 1, "test/dog": 1},
            {"train": [0, 1, 1], "test": [0, 1]},
        ),
        (
            {"Train/a": 1, "Train/b": 1, "valid/a": 1, "valid/b": 2},
            {"train": [0, 1], "val": [0, 1, 1]},
        ),
        ({"train": 1, "car": 1}, {"all": [0, 1]}),  # a class may be called train
        ({"dog/young": 2, "dog/old": 1, "cat": 1}, {"all": [0, 1, 1, 1]}),
    ],
)
@pytest.mark.parametrize("arcname", [".", "", "outer"])
def test_layouts(image_folder, layout, subsets, arcname):
    root = image_folder(layout)
    source = open_folder(root)
    assert {name: part.labels.tolist() for name, part in source.subsets.items()} == subsets
    assert source.classes == tuple(sorted(source.classes))
    if not arcname:
        assert content(open_folder(root.parent)) == content(source)  # one folder around everything
    assert content(open_tar(packed(root, arcname or "/"))) == content(source)


def test_labels_belong_to_their_images(image_folder):
    root = image_folder({"b": 2, "a": 3})
    whole = open_folder(root, "L").subset("all")
    folders = [Path(name).parent.name for name in whole.inputs.names]
    assert folders == ["a", "a", "a", "b", "b"]
    assert whole.labels.tolist() == [0, 0, 0, 1, 1]
    assert whole.inputs[0].mode == "L"


def test_hidden_and_other_files_are_left_aside(image_folder):
    root = image_folder({"a": 1, "b": 1})
    (root / "a" / "Thumbs.db").write_text("x")
    (root / "a" / "._000.png").write_text("x")
    (root / "README.txt").write_text("x")
    (root / ".cache").mkdir()
    (root / "__MACOSX").mkdir()
    assert len(open_folder(root).subset("all")) == 2


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        ({"a": 2}, "only one class"),
        ({"a": 2, "b": 0}, "class 'b' has no images"),
        ({"train/a": 1, "train/b": 1, "test/a": 1, "test/b": 0}, "class 'b' has no images .*test/b"),
        ({"train/a": 1, "train/b": 1, "test": 0}, "'test' .* holds no images"),
        ({"train/a": 1, "train/b": 1, "test/a": 1}, "different classes: 'test' lacks b"),
        ({"train/a": 1, "train/b": 1, "extra/c": 1}, r"subset folders \(train\), but image extra/c"),
        ({"train/a": 1, "train/b": 1, "train": 1}, r"subset folders \(train\), but image train/000"),
        ({"val/a": 1, "val/b": 1, "valid/a": 1, "valid/b": 1}, "two folders for one subset"),
        ({"a": 1, ".": 1}, "lies in no class folder"),
        ({"a": 0}, "holds no images"),
        ({".": 0}, "holds no images"),
    ],
)
def test_folders_and_tars_that_cannot_be_used(image_folder, tmp_path, layout, message):
    root = tmp_path / "images"
    for folder, count in sorted(layout.items(), reverse=True):
        (root / folder).mkdir(parents=True, exist_ok=True)
        part = image_folder({"x": count}, name=f"part{len(list(tmp_path.iterdir()))}") / "x"
        for file in part.iterdir():
            file.rename(root / folder / file.name)
    with pytest.raises(UsageError, match=message):
        open_folder(root)
    with pytest.raises(UsageError, match=message):
        open_tar(packed(root, "."))


def test_a_missing_folder(tmp_path):
    with pytest.raises(UsageError, match=r"no folder .*nowhere; check the path"):
        open_folder(tmp_path / "nowhere")


def test_digits():
    source = open_digits()
    whole = source.subset("all")
    assert source.classes == tuple("0123456789")
    assert whole.inputs.tensor.shape == (1797, 1, 8, 8)
    assert (float(whole.inputs.tensor.min()), float(whole.inputs.tensor.max())) == (0.0, 1.0)
    assert whole.inputs[0].dtype == torch.float32


def test_held_out_classes_leave_and_the_others_are_renumbered(image_folder):
    root = image_folder({f"{part}/{name}": count for part, count in (("train", 3), ("test", 2)) for name in "abc"})
    source = open_folder(root)
    rest, pool = source.without(["b"])
    assert rest.classes == ("a", "c")
    assert {name: part.labels.tolist() for name, part in rest.subsets.items()} == {
        "train": [0, 0, 0, 1, 1, 1],
        "test": [0, 0, 1, 1],
    }
    assert len(pool) == 5
    for name, part in rest.subsets.items():
        kept = {part.inputs.item_digest(index) for index in range(len(part))}
        whole = source.subset(name)
        expected = {whole.inputs.item_digest(index) for index in range(len(whole)) if whole.labels[index] != 1}
        assert kept == expected
        assert kept.isdisjoint(pool.item_digest(index) for index in range(len(pool)))
    assert len(source.without(["b"], "test")[1]) == 2
    for wrong, message in ((["d"], "'d' is not known"), (["a", "b"], "leaves 1"), ([], "at least one")):
        with pytest.raises(UsageError, match=message):
            source.without(wrong)


def test_the_default_plans():
    sizes = {
        (("all", 100),): [50, 16, 14, 20],
        (("train", 100), ("test", 10)): [60, 20, 20, 10],
        (("train", 100), ("val", 10)): [60, 20, 20, 10],
        (("train", 100), ("val", 20), ("test", 10)): [100, 10, 10, 10],
    }
    for counts, expected in sizes.items():
        source = numbered(**dict(counts))
        parts = divide(source, default_plan(source), 0)
        assert [len(part) for part in parts.values()] == expected
        assert len(set().union(*map(values, parts.values()))) == sum(expected)
    with pytest.raises(UsageError, match="no default division for subsets a, b"):
        default_plan(numbered(a=4, b=4))


def test_a_plan_draws_disjoint_parts_within_limits():
    source = numbered(train=1000, test=200)
    plan = {
        "train": SplitPlan("train", 1.0, limit=50),
        "search": SplitPlan("test", 0.25),
        "select": SplitPlan("test", 0.25, limit=20),
        "test": SplitPlan("test", 0.5),
    }
    parts = divide(source, plan, 3)
    assert list(parts) == ["train", "search", "select", "test"]
    assert [len(part) for part in parts.values()] == [50, 50, 20, 100]
    assert len(set().union(*map(values, parts.values()))) == 220
    for part in parts.values():
        assert int(part.labels.sum()) * 2 == len(part)
        assert all(int(item) % 2 == label for item, label in zip(part.inputs, part.labels, strict=True))
    again = divide(source, plan, 3)
    assert all(parts[name].digest() == again[name].digest() for name in parts)
    assert parts["test"].digest() != divide(source, plan, 4)["test"].digest()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"test": SplitPlan("tset")},
            "subset 'tset' is not known; did you mean 'test'.*accepted: test, train",
        ),
        ({"train": SplitPlan("test", 0.9)}, "shares of subset 'test' .*sum to 1"),
        ({"search": SplitPlan("test", 0.0)}, "must be above 0"),
        ({"train": SplitPlan("train", 1.0, limit=1)}, "limit 1 of split train is below one for each of 2"),
        ({"tests": SplitPlan("test")}, "split 'tests' is not known"),
    ],
)
def test_plans_that_cannot_be_followed(change, message):
    plan = {name: SplitPlan("test", 0.3) for name in ("search", "select", "test")}
    plan["train"] = SplitPlan("train")
    with pytest.raises(UsageError, match=message):
        divide(numbered(train=20, test=20), plan | change, 0)
    with pytest.raises(UsageError, match="no plan for split train"):
        divide(numbered(train=20, test=20), {"test": SplitPlan("test")}, 0)


def test_real_tars_can_be_read():
    folder = os.environ.get("MOPRUNE_DATA")
    if not folder or not (Path(folder) / "ants_bees.tar").is_file():
        pytest.skip("set MOPRUNE_DATA to a folder with ants_bees.tar to check real images")
    source = open_tar(Path(folder) / "ants_bees.tar")
    assert source.classes == ("ants", "bees")
    assert {name: len(part) for name, part in source.subsets.items()} == {"train": 244, "test": 153}
    for part in source.subsets.values():
        assert min(part.inputs[0].size) == 160


def test_a_corrupted_source_has_each_image_as_the_corruption_makes_it():
    images = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(6) % 2
    source = Source(("a", "b"), {"train": Split(TensorInputs(images), labels)})
    blurred = source.corrupted("gaussian_blur@3", seed=1).subset("train")
    expected = corrupted(TensorInputs(images), "gaussian_blur@3")  # blur has no noise, so that no seed matters
    assert torch.equal(blurred.labels, labels)
    assert all(torch.equal(blurred.inputs[i], expected[i]) for i in range(6))
    assert not torch.equal(blurred.inputs[0], images[0])
    noisy = [source.corrupted("gaussian_noise@3", seed=seed).subset("train").inputs[0] for seed in (1, 1, 2)]
    assert torch.equal(noisy[0], noisy[1])
    assert not torch.equal(noisy[0], noisy[2])
    with pytest.raises(UsageError, match="gaussian_blur"):
        source.corrupted("gaussian_blurr@3")
