import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.func import functional_call

from moprune.data import open_digits
from moprune.errors import UsageError
from moprune.networks import FeatureExtractor, LSTMClassifier, Preprocess, Suffix, Tokens, head_of, state_of


def network(seed=0, **sizes):
    return LSTMClassifier(20, 3, **{"embedding": 5, "hidden": 7, "seed": seed} | sizes).eval().requires_grad_(False)


def texts(count=6, length=9, seed=0):
    """Word numbers with 1 to ``length`` words each, padded."""
    random = np.random.default_rng(seed)
    numbers = torch.from_numpy(random.integers(1, 20, (count, length)))
    sizes = torch.from_numpy(random.integers(1, length + 1, count))
    return numbers.masked_fill(torch.arange(length) >= sizes[:, None], 0)


def by_hand(state, words):
    """Logits of one text without padding: Hochreiter and Schmidhuber 1997 with forget gates, in float64."""
    weights = {name: value.double().numpy() for name, value in state.items()}
    hidden = weights["lstm.weight_hh_l0"].shape[1]
    h, c = np.zeros(hidden), np.zeros(hidden)
    for word in words:
        gates = (
            weights["lstm.weight_ih_l0"] @ weights["embedding.weight"][word]
            + weights["lstm.weight_hh_l0"] @ h
            + weights["lstm.bias_ih_l0"]
            + weights["lstm.bias_hh_l0"]
        )
        i, f, g, o = gates.reshape(4, hidden)
        i, f, o = (1 / (1 + np.exp(-gate)) for gate in (i, f, o))
        c = f * c + i * np.tanh(g)
        h = o * np.tanh(c)
    return weights["linear.weight"] @ h + weights["linear.bias"]


def test_logits_are_those_behind_the_last_word():
    net, batch = network(), texts(40)
    expected = [by_hand(net.state_dict(), [word for word in text.tolist() if word]) for text in batch]
    np.testing.assert_allclose(net(batch).numpy(), expected, atol=1e-6)


@settings(max_examples=30)
@given(st.integers(0, 30), st.integers(0, 1000))
def test_padding_and_neighbours_change_nothing(padding, seed):
    net, batch = network(), texts(seed=seed)
    longer = torch.nn.functional.pad(batch, (0, padding))
    torch.testing.assert_close(net(longer), net(batch), atol=1e-6, rtol=0)
    torch.testing.assert_close(net(longer[2:3]), net(batch)[2:3], atol=1e-6, rtol=0)


def test_a_text_of_padding_alone_has_finite_logits():
    assert network()(torch.zeros(2, 4, dtype=torch.int64)).isfinite().all()


def test_the_seed_alone_decides_the_initial_weights():
    before = torch.random.get_rng_state()
    first, again, other = (network(seed).state_dict() for seed in (3, 3, 4))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["lstm.weight_hh_l0"], other["lstm.weight_hh_l0"])
    assert first["embedding.weight"][0].abs().max() == 0
    assert ((first["lstm.bias_ih_l0"] + first["lstm.bias_hh_l0"])[7:14] == 1).all()


@pytest.mark.parametrize("name", list(LSTMClassifier(2, 2).state_dict()))
def test_tensors_can_be_exchanged_for_a_call(name):
    net, batch = network(), texts()
    own = net(batch)
    changed = {name: network(seed=1).state_dict()[name] + 0.1}
    loaded = network()
    loaded.load_state_dict(loaded.state_dict() | changed)
    assert torch.equal(functional_call(net, changed, (batch,)), loaded(batch))
    assert not torch.allclose(loaded(batch), own)
    assert torch.equal(net(batch), own)  # nothing of it stays


@pytest.mark.parametrize("changed", [["linear.weight", "linear.bias"], ["lstm.weight_hh_l0"], ["embedding.weight"]])
def test_what_comes_before_the_changed_tensors_runs_once(changed):
    net, batch = network(), texts()
    suffix = Suffix(net, changed)
    frontier = suffix.frontier(batch)
    state = state_of(network(seed=1), changed)
    torch.testing.assert_close(suffix(frontier, state), functional_call(net, state, (batch,)), atol=1e-6, rtol=0)
    assert suffix.cached
    if changed[0].startswith("linear"):
        assert [tuple(each.shape) for each in frontier] == [(6, 7)]


def test_features_are_what_the_head_reads():
    net, batch = network(), texts()
    assert head_of(net) == "linear"
    torch.testing.assert_close(net.linear(FeatureExtractor(net)(batch)), net(batch))


def test_padding_learns_nothing():
    net = network().requires_grad_(True)
    net(texts()).sum().backward()
    assert net.embedding.weight.grad is not None
    assert net.embedding.weight.grad[0].abs().max() == 0
    assert net.embedding.weight.grad.abs().max() > 0


@pytest.mark.parametrize("size", ["embedding", "hidden"])
def test_sizes_below_one_are_refused(size):
    with pytest.raises(UsageError, match=f"{size} is 0; give at least 1"):
        network(**{size: 0})
    with pytest.raises(UsageError, match="num_classes is 0"):
        LSTMClassifier(20, 0)


def test_tokens_are_handed_on_as_they_are():
    text = texts()[0]
    assert Tokens(20)(text) is text
    assert repr(Tokens(20)) == "Tokens(vocabulary_size=20)"


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (torch.tensor([1, 20]), "word number 20, the network knows 0..19; take the data set's own vocabulary"),
        (torch.tensor([-1, 3]), "word number -1"),
        (torch.tensor([1.0]), r"torch.float32 \(1,\)"),
        (torch.tensor([[1]]), r"torch.int64 \(1, 1\)"),
        (torch.tensor([], dtype=torch.int64), r"torch.int64 \(0,\)"),
        (open_digits().subset("all").inputs[0], r"torch.float32 \(1, 8, 8\)"),
        ("a text", "a text is str; a network of words needs int64"),
    ],
)
def test_what_is_no_text_is_refused(item, message):
    with pytest.raises(UsageError, match=message):
        Tokens(20)(item)


def test_images_preprocessing_refuses_texts():
    with pytest.raises(UsageError, match=r"has shape \(9,\)"):
        Preprocess()(texts()[0])
