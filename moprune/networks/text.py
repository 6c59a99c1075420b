"""A classifier of texts trained here: in seconds on docstrings, in half a minute on SST-2."""

import copy
import hashlib
import math
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from moprune.data.docstrings import open_docstrings
from moprune.data.splits import Split, stratified
from moprune.data.text import texts_of
from moprune.data.vocabulary import PADDING, UNKNOWN
from moprune.errors import UsageError
from moprune.files import cache_folder
from moprune.networks.lstm import LSTMClassifier
from moprune.networks.store import keep, kept
from moprune.networks.weights import fill
from moprune.seeding import torch_generator

# With the texts and the seed, what the kept file's name stands for; change RECIPE with the training loop.
RECIPE = "2026-1"
EPOCHS = 40
PATIENCE = 8
BATCH = 32
RATE = 3e-3
WORD_DROPOUT = 0.4
HELD_OUT = 0.1


def pretrained_text(split: Split | None = None, *, seed: int = 0, folder: Path | None = None) -> LSTMClassifier:
    """Returns an `LSTMClassifier` that knows the texts of a split, trained once and kept on disk.

    It is trained by Adam until the cross-entropy on a tenth of the split, held out, no longer falls, and has the
    weights that were best on it. Words of the others are replaced by "unknown" at random, which teaches what that
    stands for (word dropout: Iyyer et al., ACL 2015).

    Args:
        split: the texts to learn from, ``task.train`` say: their vocabulary and classes are the network's. None for
            the training texts of `moprune.data.open_docstrings` (seconds).
        seed: of the initial weights, the order of the batches and what is held out.
        folder: where the weights are kept; None for ``networks`` in the user's cache folder. A file that is
            damaged is made again; a folder that cannot be written is a warning.

    Returns:
        The network, frozen and in evaluation mode; output i stands for label i.

    Raises:
        UsageError: the split holds no texts, or no two of any class.
    """
    split = open_docstrings().subset("train") if split is None else split
    vocabulary = texts_of(split.inputs).vocabulary
    if len(split) == 0:
        raise UsageError("there are no texts to learn from; check the data set")
    network = LSTMClassifier(len(vocabulary), int(split.labels.max()) + 1, seed=seed)
    recipe = (RECIPE, EPOCHS, PATIENCE, BATCH, RATE, WORD_DROPOUT, HELD_OUT, split.digest(), seed, network)
    folder = cache_folder() / "networks" if folder is None else folder
    path = folder / f"text-{hashlib.sha256(repr(recipe).encode()).hexdigest()[:16]}.safetensors"
    weights = kept(path)
    if weights is None:
        _train(network, split, seed)
        keep(path, network.state_dict())
    else:
        fill(network, weights, str(path))
    return network.requires_grad_(False).eval()


def _train(network: nn.Module, split: Split, seed: int) -> None:
    """Trains until texts that are held out, with the same shares of the classes, are no longer predicted better."""
    texts, labels = texts_of(split.inputs).tensor, split.labels
    learnt, held_out = stratified(labels, (1 - HELD_OUT, HELD_OUT), seed, "held out of pre-training")
    if not held_out:
        raise UsageError(f"{len(labels)} texts are too few to hold one out; give at least two of a class")
    threads = torch.get_num_threads()
    # As for the embedded digits: as fast for layers this small, and the same result on any number of cores.
    torch.set_num_threads(1)
    try:
        _descend(network, (texts[learnt], labels[learnt]), (texts[held_out], labels[held_out]), seed)
    finally:
        torch.set_num_threads(threads)


def _descend(network: nn.Module, learnt: tuple[Tensor, Tensor], held_out: tuple[Tensor, Tensor], seed: int) -> None:
    """Trains on texts with labels, and ends with the weights that did best on those held out."""
    order_generator = torch_generator(seed, "batch order")
    word_generator = torch_generator(seed, "word dropout")
    optimiser = torch.optim.Adam(network.parameters(), lr=RATE)
    texts, labels = learnt
    least, best, best_epoch = math.inf, copy.deepcopy(network.state_dict()), 0
    for epoch in range(EPOCHS):
        network.train()
        for rows in torch.randperm(len(texts), generator=order_generator).split(BATCH):
            batch = _without_some_words(texts[rows], word_generator)
            optimiser.zero_grad()
            functional.cross_entropy(network(batch), labels[rows]).backward()
            optimiser.step()
        loss = _loss(network, *held_out)
        if loss < least:
            least, best, best_epoch = loss, copy.deepcopy(network.state_dict()), epoch
        if epoch - best_epoch >= PATIENCE:
            break
    network.load_state_dict(best)
    network.eval()


def _without_some_words(texts: Tensor, generator: torch.Generator) -> Tensor:
    """Returns texts (n, length) with words dropped, and no longer than the longest of them."""
    longest = int((texts != PADDING).sum(1).max())
    texts = texts[:, : max(longest, 1)]
    dropped = torch.rand(texts.shape, generator=generator) < WORD_DROPOUT
    return texts.masked_fill(dropped & (texts != PADDING), UNKNOWN)


def _loss(network: nn.Module, texts: Tensor, labels: Tensor) -> float:
    network.eval()
    with torch.no_grad():
        logits = torch.cat([network(batch) for batch in texts.split(256)])
    return float(functional.cross_entropy(logits, labels))
