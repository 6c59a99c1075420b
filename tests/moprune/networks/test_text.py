import os
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from moprune.data import Split, TextInputs, Vocabulary, open_digits, open_docstrings, open_text, stratified
from moprune.errors import UsageError
from moprune.networks import pretrained_text
from moprune.networks import text as module


def accuracy(network, split):
    with torch.no_grad():
        return float((network(split.inputs.tensor).argmax(1) == split.labels).float().mean())


def test_knows_its_docstrings(tmp_path: Path) -> None:
    before = torch.random.get_rng_state()
    threads = torch.get_num_threads()
    network = pretrained_text(folder=tmp_path)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.get_num_threads() == threads
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())
    source = open_docstrings()
    assert accuracy(network, source.subset("train")) >= 0.85
    for unseen in ("val", "test"):  # the largest class has a fifth
        assert accuracy(network, source.subset(unseen)) >= 0.65


def sentences(count=60, seed=0):
    """Five random words each; the class is whether most are among the first five of ten."""
    numbers = torch.randint(2, 12, (count, 5), generator=torch.Generator().manual_seed(seed))
    vocabulary = Vocabulary(tuple("abcdefghij"))
    return Split(TextInputs(numbers, vocabulary), ((numbers < 7).sum(1) > 2).long())


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EPOCHS", 1)


@pytest.mark.usefixtures("quick")
def test_kept_used_again_and_made_again_when_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = pretrained_text(sentences(), seed=2, folder=tmp_path)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-100])
    again = pretrained_text(sentences(), seed=2, folder=tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(module, "_train", lambda *_: pytest.fail("trained again"))
        kept = pretrained_text(sentences(), seed=2, folder=tmp_path)
    for name, value in first.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)
        assert torch.equal(kept.state_dict()[name], value)


@pytest.mark.usefixtures("quick")
def test_other_texts_labels_vocabulary_or_seed_are_another_file(tmp_path: Path) -> None:
    split = sentences()
    larger = TextInputs(split.inputs.tensor, Vocabulary(tuple("abcdefghijk")))
    for each in (split, sentences(seed=1), Split(split.inputs, 1 - split.labels), Split(larger, split.labels)):
        pretrained_text(each, folder=tmp_path)
    pretrained_text(split, seed=1, folder=tmp_path)
    assert len(list(tmp_path.iterdir())) == 5


def test_the_best_epoch_on_texts_held_out_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    split = sentences(400)
    flipped = torch.rand(400, generator=torch.Generator().manual_seed(0)) < 0.3  # to be overfitted soon
    labels = torch.where(flipped, 1 - split.labels, split.labels)
    _, held_out = stratified(labels, (0.9, 0.1), 0, "held out of pre-training")
    losses = []
    for epochs in range(1, 14, 4):
        monkeypatch.setattr(module, "EPOCHS", epochs)
        network = pretrained_text(Split(split.inputs, labels), folder=tmp_path)
        logits = network(split.inputs.tensor[held_out])
        losses.append(float(functional.cross_entropy(logits, labels[held_out])))
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0]  # it learnt something
    assert losses[-1] == losses[-2]  # and then no more


def test_some_words_become_unknown_and_padding_stays() -> None:
    texts = torch.randint(2, 50, (400, 12), generator=torch.Generator().manual_seed(0))
    texts[:, 7:] = 0
    texts[:200, 3:] = 0
    dropped = module._without_some_words(texts, torch.Generator().manual_seed(1))
    assert dropped.shape == (400, 7)
    words = texts[:, :7] != 0
    changed = dropped != texts[:, :7]
    assert (dropped[changed] == 1).all()
    assert not changed[~words].any()
    assert float(changed[words].float().mean()) == pytest.approx(module.WORD_DROPOUT, abs=0.04)


def test_what_cannot_be_learnt_from_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="TensorInputs are no texts"):
        pretrained_text(open_digits().subset("all"), folder=tmp_path)
    split = sentences()
    with pytest.raises(UsageError, match="there are no texts"):
        pretrained_text(split.subset([]), folder=tmp_path)
    one_each = [int((split.labels == label).nonzero()[0]) for label in (0, 1)]
    with pytest.raises(UsageError, match="2 texts are too few to hold one out"):
        pretrained_text(split.subset(one_each), folder=tmp_path)
    assert not list(tmp_path.iterdir())


def test_learns_real_sentences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = os.environ.get("MOPRUNE_DATA")
    if not folder or not (Path(folder) / "sst2").is_dir():
        pytest.skip("set MOPRUNE_DATA to a folder with sst2/{train,dev,test}.tsv to check real sentences")
    monkeypatch.setattr(module, "EPOCHS", 3)
    source = open_text(Path(folder) / "sst2")
    assert accuracy(pretrained_text(source.subset("train"), folder=tmp_path), source.subset("test")) >= 0.7
