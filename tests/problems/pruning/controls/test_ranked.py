"""Random and ranked masks, and the dense head cut at once."""

import numpy as np
import pytest
import torch

from problems.pruning.controls import points
from problems.pruning.controls.ranked import DRAWS
from problems.pruning.rankings import fitted, ranking, unit_norms


def test_random_masks_have_the_sizes_asked_for_and_differ_between_draws_and_seeds(make_setting):
    setting = make_setting("units", hidden=(30,), sizes=(20, 5, 20, 40))
    made = points("random_matched", setting)
    assert [int(point.genome.sum()) for point in made] == [5] * DRAWS + [20] * DRAWS + [40]
    assert len({point.genome.tobytes() for point in made}) == len(made)
    alone = points("random_matched", make_setting("units", hidden=(30,), sizes=(20,)))
    assert [p.genome.tolist() for p in alone] == [p.genome.tolist() for p in made if p.genome.sum() == 20]


def test_random_masks_are_uniform(make_setting):
    setting = make_setting("features", sizes=tuple(range(1, 10)))
    counts = sum(point.genome.astype(int) for point in points("random_matched", setting))
    # 45 masks at most, of sizes 1..9: each bit is on in half of them; four standard deviations.
    assert np.abs(counts - counts.mean()).max() < 4 * np.sqrt(45 / 4)


@pytest.mark.parametrize("name", ["anova", "mutual_information", "magnitude"])
def test_ranked_masks_are_nested_and_keep_the_best(name, make_setting):
    setting = make_setting(sizes=(10, 1, 4, 1))
    scores = ranking(name, setting.encoding, setting.data, setting.training, setting.seed)
    one, four, everything = points(name, setting)
    assert np.flatnonzero(one.genome).tolist() == [int(scores.argmax())]
    assert set(np.flatnonzero(four.genome)) == set(sorted(range(10), key=lambda i: -scores[i])[:4])
    assert everything.genome.all()


def test_statistics_of_features_find_those_that_tell_something(make_setting):
    for name in ("anova", "mutual_information"):
        (point,) = points(name, make_setting(sizes=(3,)))
        assert set(np.flatnonzero(point.genome)) <= {0, 1, 2, 3}


@pytest.mark.parametrize(("encoding", "size"), [("features", 4), ("neurons", 3), ("edges", 25)])
def test_one_shot_heads_are_the_dense_head_with_zeros(encoding, size, make_setting):
    setting = make_setting(encoding, sizes=(size,))
    spec, x = setting.encoding.spec, setting.data.features
    dense = fitted(spec, spec.all_on(), setting.data, setting.training, setting.seed)
    a, b = (matrix.double().clone() for matrix in dense.weights.matrices)
    if encoding == "features":
        a[a.norm(dim=1).argsort()[:-size]] = 0
    elif encoding == "neurons":
        b[(a.norm(dim=0) * b.norm(dim=1)).argsort()[:-size]] = 0
    else:
        a[a.abs() < a.abs().flatten().sort().values[-size]] = 0
    expected = torch.relu(x.double() @ a) @ b + dense.weights.biases[1].double()
    (point,) = points("magnitude_one_shot", setting)
    head = point.fit(setting.data)
    torch.testing.assert_close(head.logits(x).double(), expected, rtol=1e-4, atol=1e-5)
    assert {"features": head.widths[0], "neurons": head.widths[1]}.get(encoding, size) == size


def test_the_magnitudes_of_one_shot_heads_are_those_of_the_set_in_force(make_setting):
    setting = make_setting(sizes=(3,))
    half = type(setting.data)(setting.data.features[::2], setting.data.labels[::2])
    (point,) = points("magnitude_one_shot", setting)
    spec = setting.encoding.spec
    norms = unit_norms(fitted(spec, spec.all_on(), half, setting.training, setting.seed))[0]
    assert set(point.fit(half).kept.tolist()) == set(norms.argsort()[-3:])
