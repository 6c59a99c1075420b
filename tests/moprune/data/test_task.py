import os
import pickle
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from moprune.data import Source, Split, Task, TensorInputs, corrupted, duplicates_across, open_digits
from moprune.errors import UsageError


def tensors(count, classes=2, first=0):
    values = torch.arange(first, first + count).float().reshape(count, 1, 1, 1).expand(count, 1, 4, 4)
    return values, torch.arange(count) % classes


def seen(inputs):
    return {inputs.item_digest(index) for index in range(len(inputs))}


def small_task(**changes):
    parts = {
        name: Split(TensorInputs(torch.full((2, 3), float(number))), torch.tensor([0, 1]))
        for number, name in enumerate(("train", "search", "select", "test"))
    }
    return Task(**({"name": "small", "classes": ("a", "b")} | parts | changes))


def test_tensors_are_divided_in_four_disjoint_parts():
    inputs, labels = tensors(200)
    task = Task.from_tensors(inputs, labels)
    assert task.sizes() == {"train": 100, "search": 30, "select": 30, "test": 40}
    assert task.classes == ("0", "1")
    parts = [task.split(name) for name in ("train", "search", "select", "test")]
    assert len(set().union(*(seen(part.inputs) for part in parts))) == 200
    for part in parts:
        assert all(int(item[0, 0, 0]) % 2 == label for item, label in zip(part.inputs, part.labels, strict=True))
        assert int(part.labels.sum()) * 2 == len(part)
    assert task.digest() == Task.from_tensors(inputs, labels, name="other").digest()
    assert task.digest() != Task.from_tensors(inputs, labels, seed=1).digest()
    assert task.digest() != Task.from_tensors(inputs, labels, classes=("x", "y")).digest()


def test_test_tensors_are_kept_for_the_test():
    test = tensors(20, first=1000)
    task = Task.from_tensors(*tensors(100), test=test, ood={"search": {"far": torch.ones(9, 1, 4, 4)}})
    assert task.sizes() == {
        "train": 60,
        "search": 20,
        "select": 20,
        "test": 20,
        "ood/search/far": 5,
        "ood/select/far": 4,
    }
    assert torch.equal(task.test.inputs.tensor, test[0])
    shared = Task.from_tensors(*tensors(100), test=test, shares=(0.2, 0.2, 0.2))
    assert list(shared.sizes().values()) == [20, 20, 20, 20]


def test_tensors_that_do_not_fit_are_refused():
    inputs, labels = tensors(100)
    cases = {
        "100 inputs have 99 labels": {"labels": labels[1:]},
        "not finite": {"inputs": inputs / 0},
        "2 shares were given": {"shares": (0.5, 0.5)},
        "sum to 1 at most": {"shares": (0.5, 0.5, 0.5, 0.5)},
        "test inputs have items of shape": {"test": (torch.zeros(4, 2), labels[:4])},
        "OOD pool 'x' have items": {"ood": {"test": {"x": torch.zeros(3, 1, 5, 5)}}},
        "'select' is not known": {"ood": {"select": {}}},
        "has 1 class": {"labels": labels * 0},
        "label 1; labels are 0..0|has 1 class": {"classes": ("one",)},
        "class '1' has no images in split 'train'": {"labels": labels * 2},
        "search and select need one each": {"ood": {"search": {"x": inputs[:1]}}},
        "OOD pool 'x' .* is in search and test": {"ood": {"search": {"x": inputs}, "test": {"x": inputs}}},
    }
    for message, change in cases.items():
        with pytest.raises(UsageError, match=message):
            Task.from_tensors(**({"inputs": inputs, "labels": labels} | change))


def test_a_task_checks_its_splits_and_pools():
    pool = TensorInputs(torch.zeros(2, 3))
    other = TensorInputs(torch.ones(2, 3))
    pair = torch.zeros(2, 3)
    cases = {
        "names class 'a' twice": {"classes": ("a", "a")},
        "has 1 class": {"classes": ("a",)},
        "split 'search' .*is empty": {"search": Split(TensorInputs(torch.zeros(0, 3)), torch.tensor([]).long())},
        "split 'test' of task 'small' has label 2": {"test": Split(TensorInputs(pair), torch.tensor([0, 2]))},
        "split 'test' of task 'small' has label -1": {"test": Split(TensorInputs(pair), torch.tensor([0, -1]))},
        "class 'b' has no images in split 'select'": {"select": Split(TensorInputs(pair), torch.tensor([0, 0]))},
        "OOD split 'train' is not known": {"ood": {"train": {"x": pool}}},
        "OOD pool 'x' of test .*empty": {"ood": {"test": {"x": pool.subset([])}}},
        r"search \(x\) and select \(none\)": {"ood": {"search": {"x": pool}}},
        "different images": {"ood": {"search": {"x": pool}, "select": {"x": pool}}},
        "is in search and test": {"ood": {"search": {"x": pool}, "select": {"x": other}, "test": {"x": pool}}},
    }
    for message, change in cases.items():
        with pytest.raises(UsageError, match=message):
            small_task(**change)
    task = small_task(ood={"search": {"x": pool}, "select": {"x": other}, "test": {"y": pool}})
    with pytest.raises(UsageError, match="'tests' is not known; did you mean 'test'"):
        task.split("tests")
    digests = {
        task.digest(),
        small_task().digest(),
        replace(task, ood={"test": {"y": pool}}).digest(),
        replace(task, test=task.train).digest(),
        replace(task, classes=("a", "c")).digest(),
    }
    assert len(digests) == 5


@pytest.fixture
def animals(image_folder):
    return image_folder(dict.fromkeys(("bee", "cat", "dog", "eel"), 20))


def test_a_folder_becomes_a_task(animals, tmp_path):
    ood = {"ood_search": ["photographs", "eel", "jigsaw"], "ood_test": ["noise", "dog"]}
    task = Task.from_folder(animals, **ood, seed=4)
    assert task.name == "images"
    assert task.classes == ("bee", "cat")
    assert task.sizes() == {
        "train": 20,
        "search": 6,
        "select": 6,
        "test": 8,
        "ood/search/photographs": 6,
        "ood/search/eel": 10,
        "ood/search/jigsaw": 6,
        "ood/select/photographs": 6,
        "ood/select/eel": 10,
        "ood/select/jigsaw": 6,
        "ood/test/noise": 8,
        "ood/test/dog": 20,
    }
    everything = [task.split(name).inputs for name in ("train", "search", "select", "test")]
    everything += [inputs for pools in task.ood.values() for inputs in pools.values()]
    assert len(set().union(*map(seen, everything))) == sum(map(len, everything))
    assert duplicates_across(task) == []
    assert all(item.size == (9, 7) for inputs in everything for item in inputs)
    again = pickle.loads(pickle.dumps(task))  # noqa: S301
    assert again.digest() == task.digest()
    moved = shutil.move(animals, tmp_path / "moved")
    assert Task.from_folder(moved, **ood, seed=4, name="images").digest() == task.digest()
    tar = tmp_path / "animals.tar"
    with tarfile.open(tar, "w") as archive:
        archive.add(moved, arcname="animals")
    packed = Task.from_folder(tar, **ood, seed=4)
    assert (packed.name, packed.digest()) == ("animals", task.digest())


def test_pools_that_cannot_be_had(animals):
    for ood, message in (
        ({"ood_search": ["nois"]}, "OOD pool, class or existing path 'nois' is not known; did you mean 'noise'"),
        ({"ood_search": ["noise"], "ood_test": ["noise"]}, "asked for twice"),
        ({"ood_search": ["bee", "cat", "dog"]}, "leaves 1"),
    ):
        with pytest.raises(UsageError, match=message):
            Task.from_folder(animals, **ood)


def test_digits_with_photographs_and_a_held_out_class():
    task = Task.from_source(open_digits(), ood_search=["photographs", "9"], ood_test=["noise", "jigsaw", "8"])
    assert task.classes == tuple("01234567")
    for pools in task.ood.values():
        for inputs in pools.values():
            assert inputs[0].shape == (1, 8, 8)
            assert inputs[0].dtype == torch.float32


def test_corruptions_of_each_splits_own_images(animals):
    options = {"corrupt_search": ["gaussian_noise@3", "contrast@2"], "corrupt_test": ["pixelate@5"], "seed": 4}
    task = Task.from_folder(animals, **options)
    for split in ("train", "search", "select", "test"):
        versions = task.corruptions[split]
        assert list(versions) == options["corrupt_test" if split == "test" else "corrupt_search"]
        for inputs in versions.values():
            assert len(inputs) == len(task.split(split))
            assert all(item.size == (9, 7) for item in inputs)
    # Contrast has no chance in it, so an image under it tells which image it is of.
    plain = task.search.inputs[3]
    again = corrupted(task.search.inputs, "contrast@2", table="cifar")[3]
    assert task.corruptions["search"]["contrast@2"][3].tobytes() == again.tobytes() != plain.tobytes()
    same = Task.from_folder(animals, **options)
    assert task.digest() == same.digest() == pickle.loads(pickle.dumps(task)).digest()  # noqa: S301
    assert task.digest() != Task.from_folder(animals, seed=4).digest()
    assert task.corruptions["test"]["pixelate@5"].digest() == same.corruptions["test"]["pixelate@5"].digest()


def test_noise_differs_between_splits():
    grey = Split(TensorInputs(torch.full((40, 1, 8, 8), 0.5)), torch.arange(40) % 2)
    task = Task.from_source(Source(("a", "b"), {"all": grey}), corrupt_search=["gaussian_noise@3"])
    items = [task.corruptions[split]["gaussian_noise@3"][0] for split in ("train", "search", "select")]
    assert not any(torch.equal(items[i], items[i - 1]) for i in range(3))


def test_the_table_is_by_size_or_as_asked():
    source = open_digits()
    by_size, small, large = (
        Task.from_source(source, corrupt_search=["contrast@1"], table=table).corruptions["select"]["contrast@1"]
        for table in (None, "cifar", "imagenet")
    )
    assert by_size.digest() == small.digest() != large.digest()
    deviation = [float(inputs[0].std()) for inputs in (small, large)]
    assert deviation[0] / deviation[1] == pytest.approx(0.75 / 0.4, rel=1e-5)


def test_corruptions_that_cannot_be_had(animals):
    for corrupt, message in (
        ({"corrupt_search": ["contrast@9"]}, "severity from 1 to 5"),
        ({"corrupt_test": ["contrst@1"]}, "did you mean 'contrast'"),
        ({"corrupt_search": ["contrast@1", "contrast@1"]}, "asked for twice"),
        ({"corrupt_search": ["contrast@1"], "corrupt_test": ["contrast@5"]}, "'contrast' .* is in search and test"),
    ):
        with pytest.raises(UsageError, match=message):
            Task.from_folder(animals, **corrupt)


def test_a_task_checks_its_corruptions():
    pair, other = TensorInputs(torch.zeros(2, 3)), TensorInputs(torch.ones(2, 3))
    both = {"search": {"blur@1": pair}, "select": {"blur@1": other}}
    cases = {
        "split of corruptions 'tests' is not known": {"tests": {}},
        "all 2 images of the split, not 1": {"test": {"x@1": pair.subset([0])}},
        r"search .*\(blur@1\) must be those of select": {"search": {"blur@1": pair}},
        "and of train if it has any": both | {"train": {"x@1": pair}},
        "corruption 'blur' .* is in search and test": both | {"test": {"blur@5": pair}},
    }
    for message, corruptions in cases.items():
        with pytest.raises(UsageError, match=message):
            small_task(corruptions=corruptions)
    with pytest.raises(UsageError, match="a name of its own"):
        small_task(corruptions={"test": {"x": pair}}, ood={"test": {"x": pair}})
    task = small_task(corruptions=both | {"test": {"noise@1": pair}})
    assert task.corruptions["train"] == {}
    assert len({task.digest(), small_task(corruptions=both).digest(), small_task().digest()}) == 3


def test_the_published_protocol_searches_the_test():
    pool, far, near = (TensorInputs(torch.full((n, 3), float(n))) for n in (4, 5, 6))
    versions = {split: {"blur@1": TensorInputs(torch.zeros(2, 3))} for split in ("train", "search", "select")}
    task = small_task(
        ood={"search": {"x": pool}, "select": {"x": far}, "test": {"y": near}},
        corruptions=versions | {"test": {"noise@1": pool.subset([0, 1])}},
    )
    published = task.published()
    assert published.optimistic
    assert not task.optimistic
    learnt = [float(item[0]) for item in published.train.inputs]
    assert learnt == [0, 0, 1, 1, 2, 2], "train, search and select; nothing of the test"
    assert published.train.labels.tolist() == [0, 1] * 3
    for split in ("search", "select", "test"):
        assert published.split(split) is task.test
        assert published.ood[split] == {"y": near}
        assert list(published.corruptions[split]) == ["noise@1"]
    assert published.corruptions["train"] == {}
    sizes = {"train": 6, "search": 2, "select": 2, "test": 2}
    assert published.sizes() == sizes | {f"ood/{split}/y": 6 for split in ("search", "select", "test")}
    assert published.classes == task.classes
    again = small_task(test=published.test).published()
    assert len({published.digest(), task.digest(), again.digest()}) == 3
    assert task.published().digest() == pickle.loads(pickle.dumps(published)).digest()  # noqa: S301
    for changes in ({"train": task.train}, {"search": task.search}, {"ood": {}}, {"corruptions": {}}):
        assert replace(published, **changes).digest() != published.digest()


def test_the_test_is_searched_only_where_that_is_said():
    pool, pair = TensorInputs(torch.zeros(2, 3)), TensorInputs(torch.ones(2, 3))
    for parts, message in (
        ({"ood": {"test": {"y": pool}}}, "must have the same names and different images"),
        ({"corruptions": {"test": {"noise@1": pair}}}, "'noise' .* is in search and test"),
    ):
        published = small_task(**parts).published()
        with pytest.raises(UsageError, match=message):
            replace(published, optimistic=False)
    plain = small_task().published()
    assert replace(plain, optimistic=False).digest() == plain.digest()
    for parts, message in (
        ({"ood": {"test": {"y": pool.subset([])}}}, "OOD pool 'y' of test .*empty"),
        ({"ood": {"tests": {}}}, "OOD split 'tests' is not known"),
        ({"corruptions": {"test": {"noise@1": pool.subset([0])}}}, "all 2 images of the split, not 1"),
    ):  # what has nothing to do with the test is refused all the same
        with pytest.raises(UsageError, match=message):
            small_task(optimistic=True, **parts)


def test_a_class_too_small_for_every_split_is_named(image_folder):
    root = image_folder({"many": 20, "few": 3})
    with pytest.raises(UsageError, match="class 'few' has no images in split"):
        Task.from_folder(root)


def test_duplicates_are_found_across_and_only_across_the_test():
    values = torch.arange(8.0).repeat_interleave(3).reshape(8, 3)
    both = torch.tensor([0, 1])
    task = Task(
        "repeats",
        ("a", "b"),
        Split(TensorInputs(values[[0, 0]]), both),
        Split(TensorInputs(values[[1, 2]]), both),
        Split(TensorInputs(values[[0, 5]]), both),
        Split(TensorInputs(values[[5, 2, 5]]), torch.tensor([0, 1, 1])),
    )
    assert duplicates_across(task) == [("search", 1, "test", 1), ("select", 1, "test", 0)]


def test_a_task_of_real_images():
    folder = os.environ.get("MOPRUNE_DATA")
    if not folder or not (Path(folder) / "riceleaf3.tar").is_file():
        pytest.skip("set MOPRUNE_DATA to a folder with riceleaf3.tar to check real images")
    task = Task.from_folder(Path(folder) / "riceleaf3.tar", ood_search=["photographs"], ood_test=["noise"])
    assert len(task.train) + len(task.search) + len(task.select) == 204
    assert len(task.test) == 51
    assert all(item.mode == "RGB" for item in task.select.inputs)
