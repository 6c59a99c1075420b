"""What an experiment file may say of each task, and what is refused."""

import pytest
import yaml

from experiments.config.data import DataConfig
from experiments.loading import dump, load_experiment
from experiments.run_folder import RunFolder
from moprune.errors import UsageError


def test_a_task_has_its_own_section_alone(tmp_path):
    pruned, refined = load_experiment("quickstart"), load_experiment("sa-shade")
    assert "refinement" not in yaml.safe_load(dump(pruned))
    assert not {"pruning", "budget", "attack"} & set(yaml.safe_load(dump(refined)))
    for config in (pruned, refined):
        folder = RunFolder(tmp_path / config.task)
        folder.claim(config)
        assert folder.config() == config


@pytest.mark.parametrize(
    ("experiment", "override", "words"),
    [
        ("quickstart", "refinement.delta=1", ["refinement", "task refinement", "pruning"]),
        ("sa-shade", "pruning.hidden=[4]", ["pruning", "task pruning", "refinement"]),
        ("sa-shade", "budget=0.3", ["budget"]),
        ("refine", "task=refining", ["task", "pruning", "refinement"]),
        ("sa-shade", "refinement.genome=wights", ["wights", "weights"]),
        ("sa-shade", "refinement.delta=0.1", ["delta", "mixing"]),
        ("refine", "refinement.genome=random_subspace", ["dimension"]),
        ("sa-shade", "refinement.members.count=0", ["members.count"]),
        ("sa-shade", "refinement.start=uniform_soup", ["mixing", "start"]),
        ("worst-class", "refinement.members.count=0", ["start best_member", "members.count"]),
        ("worst-class", "refinement.start=soup", ["soup", "uniform_soup"]),
        ("sa-shade", "refinement.members.augment=flip", ["flip_crop"]),
        ("sa-shade", "refinement.publication=sa_shade", ["profile: paper"]),
        ("sa-shade", "controls=[unpruned]", ["unpruned", "uniform_soup"]),
        ("quickstart", "controls=[uniform_soup]", ["uniform_soup", "unpruned"]),
    ],
)
def test_what_says_nothing_is_refused_in_a_line(experiment, override, words):
    with pytest.raises(UsageError) as caught:
        load_experiment(experiment, [override])
    assert "\n" not in str(caught.value)
    assert all(word in str(caught.value) for word in words), caught.value


def test_a_profile_is_filled_in_for_the_genome_and_publication_given():
    sound = load_experiment("refine", ["refinement.genome=scales", "refinement.spread=0.1"])
    assert (sound.refinement.per, sound.refinement.low, sound.refinement.members.count) == (None, None, 8)
    default = load_experiment("refine").refinement
    assert (default.genome, default.per, default.low, default.high) == ("mixing", "stage", -0.5, 1.5)
    first, second = load_experiment("sa-shade-paper"), load_experiment("metaheuristics", ["profile=paper"])
    assert (first.search.algorithm, first.refinement.parameters) == ("sa_shade_faithful", ("convolutions", "norms"))
    assert (second.search.algorithm, second.refinement.parameters, second.refinement.delta) == ("pso", ("head",), 0.01)
    assert (second.search.pop_size, second.search.n_eval, second.refinement.members.count) == (10, 160, 0)
    assert load_experiment("sa-shade", ["search.algorithm=cmaes"]).search.pop_size == 10


@pytest.mark.parametrize(
    ("data", "called"),
    [
        ({"source": "folder", "path": "photos/leaves"}, "leaves"),
        ({"source": "tar", "path": "leaves.tar"}, "leaves.tar"),
        ({"source": "features", "path": "."}, "features"),
        ({"source": "torchvision", "name": "CIFAR10"}, "CIFAR10"),
        ({"source": "digits"}, "digits"),
    ],
)
def test_data_are_called_by_what_tells_them_apart(data, called):
    assert DataConfig(**data).called == called
