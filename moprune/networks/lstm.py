"""A recurrent classifier of texts.

Embedding, one LSTM layer and a linear head on its last state, as the text classifier of Rosa et al., "Improving
Pre-Trained Weights Through Meta-Heuristics Fine-Tuning", IEEE SSCI 2021 (arXiv:2212.09447).
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from moprune.data.vocabulary import PADDING
from moprune.errors import UsageError
from moprune.seeding import torch_generator


@dataclass(frozen=True)
class Tokens:
    """The preprocessing of texts: hands on word numbers as they are, once they are known to be some.

    Its ``repr`` says all it does, as that of `Preprocess`.

    Attributes:
        vocabulary_size: numbers that the network knows, >= 1.
    """

    vocabulary_size: int

    def __call__(self, item: Any) -> Tensor:
        """Returns the network's input for one text.

        Args:
            item: int64 (length,), in 0 .. vocabulary_size - 1.

        Raises:
            UsageError: anything else.
        """
        if not isinstance(item, Tensor) or item.dtype != torch.int64 or item.ndim != 1 or len(item) == 0:
            shown = f"{item.dtype} {tuple(item.shape)}" if isinstance(item, Tensor) else type(item).__name__
            raise UsageError(f"a text is {shown}; a network of words needs int64 word numbers of shape (length,)")
        low, high = int(item.min()), int(item.max())
        if low < 0 or high >= self.vocabulary_size:
            wrong = low if low < 0 else high
            advice = "take the data set's own vocabulary"
            raise UsageError(
                f"a text has word number {wrong}, the network knows 0..{self.vocabulary_size - 1}; {advice}"
            )
        return item


class LSTMClassifier(nn.Module):
    """Embedding, LSTM, and a linear head on the state behind the last word.

    Args:
        vocabulary_size: word numbers, padding and unknown included (``len(vocabulary)``).
        num_classes: outputs.
        embedding: numbers a word becomes.
        hidden: numbers of the LSTM's state.
        seed: of the initial weights.

    Raises:
        UsageError: one of the sizes is below 1.
    """

    def __init__(
        self, vocabulary_size: int, num_classes: int, *, embedding: int = 64, hidden: int = 64, seed: int = 0
    ) -> None:
        super().__init__()
        sizes = {
            "vocabulary_size": vocabulary_size,
            "num_classes": num_classes,
            "embedding": embedding,
            "hidden": hidden,
        }
        for name, size in sizes.items():
            if size < 1:
                raise UsageError(f"LSTMClassifier: {name} is {size}; give at least 1")
        with torch.device("meta"):
            self.embedding = nn.Embedding(vocabulary_size, embedding, padding_idx=PADDING)
            self.lstm = nn.LSTM(embedding, hidden, batch_first=True)
            self.linear = nn.Linear(hidden, num_classes)
        self._initialise(torch_generator(seed, "initial weights"))

    def forward(self, x: Tensor) -> Tensor:
        """Maps word numbers, int64 (n, length) padded at the end, to logits (n, num_classes).

        How far a text is padded changes nothing: its state is read behind its last word.
        """
        states = self.lstm(self.embedding(x))[0]
        # A text without a word, which no reader makes, is read behind its first padding.
        last = (x != PADDING).sum(1).clamp(min=1) - 1
        positions = last.view(-1, 1, 1).expand(-1, 1, states.size(2))
        logits: Tensor = self.linear(states.gather(1, positions).squeeze(1))
        return logits

    def _initialise(self, generator: torch.Generator) -> None:
        """Draws what torch's own initial weights are drawn from, but for two of them.

        Words start close to each other, so that those seen rarely do no harm, and the LSTM forgets little at first
        (a forget gate's bias of 1: Jozefowicz, Zaremba and Sutskever, ICML 2015).
        """
        self.to_empty(device="cpu")
        nn.init.normal_(self.embedding.weight, std=0.3, generator=generator)
        hidden = self.lstm.hidden_size
        with torch.no_grad():
            self.embedding.weight[PADDING] = 0
            for parameter in (*self.lstm.parameters(), *self.linear.parameters()):
                parameter.uniform_(-1 / math.sqrt(hidden), 1 / math.sqrt(hidden), generator=generator)
            for name, value in (("bias_ih_l0", 1), ("bias_hh_l0", 0)):  # the two are added up
                self.lstm.get_parameter(name)[hidden : 2 * hidden] = value
