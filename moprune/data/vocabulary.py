"""Words as numbers: how a text is cut into tokens, and which of them have a number of their own."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from moprune.errors import UsageError

PADDING = 0
"""Fills a sequence up to its length; always behind the last word."""
UNKNOWN = 1
"""Stands for every word that is not in the vocabulary."""

_FIRST = 2
# A word with an apostrophe in it (don't) or before it (n't and 've as treebanks cut them), else a single mark.
_TOKEN = re.compile(r"'?\w+(?:'\w+)*|[^\w\s]")


def tokenise(text: str) -> list[str]:
    """Returns the words and punctuation marks of a text, in lower case.

    A text that is tokenised already, its tokens separated by spaces, keeps its words.
    """
    return _TOKEN.findall(text.lower())


@dataclass(frozen=True)
class Vocabulary:
    """The words that have a number; :data:`PADDING` and :data:`UNKNOWN` come before them.

    Args:
        words: word ``i`` has number ``i + 2``; all different.
    """

    words: tuple[str, ...]

    @classmethod
    def of(cls, texts: Iterable[str], limit: int) -> "Vocabulary":
        """Makes the vocabulary of some texts, which should be training texts only.

        Args:
            texts: their words are counted.
            limit: the most words, >= 1: the most frequent ones, equally frequent ones in alphabetical order.

        Raises:
            UsageError: ``limit`` is below 1.
        """
        if limit < 1:
            raise UsageError(f"a vocabulary of {limit} words holds nothing; give at least 1")
        counts = Counter(token for text in texts for token in tokenise(text))
        ranked = sorted(counts, key=lambda word: (-counts[word], word))
        return cls(tuple(ranked[:limit]))

    def __len__(self) -> int:
        """Returns how many numbers there are, padding and unknown included."""
        return len(self.words) + _FIRST

    def encode(self, texts: Sequence[str], length: int) -> Tensor:
        """Returns texts as numbers.

        Args:
            texts: n texts.
            length: tokens of each, >= 1; what is longer loses its end, what is shorter is padded there.

        Returns:
            int64 (n, length), in 0 .. len(self) - 1.

        Raises:
            UsageError: ``length`` is below 1.
        """
        if length < 1:
            raise UsageError(f"texts of {length} tokens hold nothing; give a length of at least 1")
        result = torch.full((len(texts), length), PADDING, dtype=torch.int64)
        for row, text in zip(result, texts, strict=True):
            numbers = [self._numbers.get(token, UNKNOWN) for token in tokenise(text)[:length]]
            row[: len(numbers)] = torch.tensor(numbers, dtype=torch.int64)
        return result

    def decode(self, numbers: Tensor) -> str:
        """Returns the words of a sequence (length,), ``<unknown>`` where there is none, without its padding."""
        names = ("", "<unknown>", *self.words)
        return " ".join(names[number] for number in numbers.tolist() if number != PADDING)

    @cached_property
    def _numbers(self) -> Mapping[str, int]:
        return {word: number for number, word in enumerate(self.words, start=_FIRST)}
