import pytest
import torch

from analysis.attribution.neurons import importance
from moprune.errors import UsageError
from moprune.networks.heads import HeadSpec, TrainedHead, initial_weights

MASK = torch.tensor([True, False, True, True])


def trained(spec, masks, seed=0, failed=False):
    weights = initial_weights(spec, seed).compact(masks)
    return TrainedHead(spec, masks[0].nonzero()[:, 0], weights, 1, failed)


def images(spec, count=30):
    random = torch.Generator().manual_seed(0)
    return torch.rand(count, spec.features, generator=random), torch.arange(count) % spec.classes


class TestLinearHead:
    """Of a linear head every measure is known: x_i w_ic is conductance and ablation, w_ic the influence."""

    spec = HeadSpec(4, (), 3)

    def test_conductance_influence_and_ablation(self):
        head = trained(self.spec, (MASK,))
        x, y = images(self.spec)
        table = importance(head, (MASK,), x, y).table
        weights = head.weights.matrices[0]
        for c in range(3):
            rows = table[table["class"] == c]
            assert rows["index"].tolist() == [0, 2, 3]
            assert rows["unit"].tolist() == ["feature 0", "feature 2", "feature 3"]
            product = (x[y == c][:, MASK] * weights[:, c]).mean(0)
            torch.testing.assert_close(torch.tensor(rows["conductance"].to_numpy()), product, atol=1e-6, rtol=1e-5)
            torch.testing.assert_close(torch.tensor(rows["ablation"].to_numpy()), product, atol=1e-6, rtol=1e-5)
            torch.testing.assert_close(torch.tensor(rows["influence"].to_numpy()), weights[:, c], atol=1e-6, rtol=1e-5)

    def test_ablation_of_the_loss_is_that_of_a_head_without_the_unit(self):
        head = trained(self.spec, (MASK,))
        x, y = images(self.spec)
        without = x.clone()
        without[:, 2] = 0
        loss = torch.nn.functional.cross_entropy
        expected = loss(head.logits(without), y) - loss(head.logits(x), y)
        assert importance(head, (MASK,), x, y).overall(0, "ablation_loss")[2] == pytest.approx(
            float(expected), abs=1e-6
        )


class TestDeepHead:
    @pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid"])
    def test_conductances_of_each_layer_sum_to_the_change_of_the_logit(self, activation):
        spec = HeadSpec(6, (8, 5), 3, activation, hidden_bias=True)
        masks = (torch.arange(6) != 1, torch.arange(8) % 3 != 0, torch.ones(5, dtype=torch.bool))
        head = trained(spec, masks)
        x, y = images(spec)
        found = importance(head, masks, x, y)
        own = torch.arange(len(y))
        change = (head.logits(x) - head.logits(torch.zeros_like(x)))[own, y].mean()
        for layer in range(3):
            assert found.overall(layer).sum() == pytest.approx(float(change), abs=5e-3)
        assert found.table["completeness"].between(0, 0.02).all()

    def test_ablation_is_that_of_a_head_cut_smaller(self):
        spec = HeadSpec(6, (8,), 3)
        masks = spec.all_on()
        x, y = images(spec)
        smaller = (masks[0], torch.arange(8) != 4)
        own = torch.arange(len(y))
        expected = (trained(spec, masks).logits(x) - trained(spec, smaller).logits(x))[own, y].mean()
        found = importance(trained(spec, masks), masks, x, y)
        assert found.overall(1, "ablation")[4] == pytest.approx(float(expected), abs=1e-6)

    def test_one_unit_and_one_image(self):
        spec = HeadSpec(3, (4,), 2)
        masks = (torch.tensor([False, True, False]), torch.tensor([True, False, False, False]))
        found = importance(trained(spec, masks), masks, torch.ones(1, 3), torch.tensor([1]))
        assert set(found.table["class"]) == {-1, 1}
        assert found.overall(0).index.tolist() == [1]


def test_the_same_twice_and_no_global_state():
    spec = HeadSpec(6, (8,), 3)
    x, y = images(spec)
    before = torch.random.get_rng_state()
    tables = [importance(trained(spec, spec.all_on()), spec.all_on(), x, y).table for _ in range(2)]
    assert tables[0].equals(tables[1])
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize(
    ("mask", "count", "failed", "message"),
    [([True] * 3, 0, False, "image"), ([True] * 3, 2, True, "diverged"), ([False] * 3, 2, False, "without units")],
)
def test_what_cannot_be_measured_is_refused(mask, count, failed, message):
    spec = HeadSpec(3, (), 2)
    masks = (torch.tensor(mask),)
    with pytest.raises(UsageError, match=message):
        importance(
            trained(spec, masks, failed=failed), masks, torch.ones(count, 3), torch.zeros(count, dtype=torch.int64)
        )
