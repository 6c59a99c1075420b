from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_extraction.text import CountVectorizer

from moprune.data import Vocabulary
from moprune.data.vocabulary import PADDING, UNKNOWN, tokenise
from moprune.errors import UsageError

words = st.sampled_from(["a", "bad", "n't", "'ve", "don't", ",", "fine", "été", "42"])
texts = st.lists(st.lists(words, min_size=1, max_size=12).map(" ".join), min_size=1, max_size=8)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("You 've seen it , have n't you ?", ["you", "'ve", "seen", "it", ",", "have", "n't", "you", "?"]),
        ("Don't -- stop(now)!", ["don't", "-", "-", "stop", "(", "now", ")", "!"]),
        ("`x_1` is '' or 'y'.", ["`", "x_1", "`", "is", "'", "'", "or", "'y", "'", "."]),
        ("ÉTÉ\t\n2024", ["été", "2024"]),
        (" \n", []),
    ],
)
def test_tokens(text, tokens):
    assert tokenise(text) == tokens


@given(st.text(max_size=60))
def test_tokens_apart_are_tokens_again(text):
    assert tokenise(" ".join(tokenise(text))) == tokenise(text)


@given(texts, st.integers(1, 12))
def test_the_most_frequent_words_come_first(given_texts, limit):
    counts = Counter(" ".join(given_texts).split())
    vocabulary = Vocabulary.of(given_texts, limit)
    assert len(vocabulary.words) == min(limit, len(counts)) == len(vocabulary) - 2
    assert Vocabulary.of(given_texts[::-1], limit) == vocabulary  # the order of the texts says nothing
    ranks = [(-counts[word], word) for word in vocabulary.words]
    assert ranks == sorted(ranks)
    left_out = [(-count, word) for word, count in counts.items() if word not in vocabulary.words]
    assert all(rank > ranks[-1] for rank in left_out)


@given(texts, texts, st.integers(1, 9))
def test_numbers_count_as_scikit_learn_counts(learnt, others, limit):
    vocabulary = Vocabulary.of(learnt, limit)
    numbers = vocabulary.encode(others, 12)
    assert numbers.dtype == torch.int64
    assert numbers.shape == (len(others), 12)
    found = np.stack([np.bincount(row, minlength=len(vocabulary)) for row in numbers.numpy()])
    counter = CountVectorizer(vocabulary=vocabulary.words, tokenizer=str.split, token_pattern=None, lowercase=False)
    known = counter.transform(others).toarray()
    np.testing.assert_array_equal(found[:, 2:], known)
    sizes = np.array([len(text.split()) for text in others])
    np.testing.assert_array_equal(found[:, UNKNOWN], sizes - known.sum(1))
    np.testing.assert_array_equal(found[:, PADDING], 12 - sizes)


def test_long_texts_lose_their_end_and_short_ones_are_padded_there():
    vocabulary = Vocabulary(("good", "film"))
    numbers = vocabulary.encode(["a good film , good", "film", ""], 3)
    assert numbers.tolist() == [[UNKNOWN, 2, 3], [3, PADDING, PADDING], [PADDING] * 3]
    assert [vocabulary.decode(row) for row in numbers] == ["<unknown> good film", "film", ""]


@given(texts, st.integers(1, 15))
def test_decoding_gives_the_words_back(given_texts, length):
    vocabulary = Vocabulary.of(given_texts, 100)
    decoded = [vocabulary.decode(row) for row in vocabulary.encode(given_texts, length)]
    assert decoded == [" ".join(text.split()[:length]) for text in given_texts]


def test_sizes_below_one_are_refused():
    with pytest.raises(UsageError, match="vocabulary of 0 words"):
        Vocabulary.of(["a"], 0)
    with pytest.raises(UsageError, match="texts of 0 tokens"):
        Vocabulary(("a",)).encode(["a"], 0)
