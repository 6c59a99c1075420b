"""Texts with labels: sequences of word numbers as inputs, and files of sentences as sources."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from moprune.data.inputs import Inputs, TensorInputs
from moprune.data.sources import Source
from moprune.data.splits import Split
from moprune.data.vocabulary import Vocabulary, tokenise
from moprune.errors import UsageError

# Which subset a file holds, by its name without ".tsv".
_FILES = {"train": "train", "dev": "val", "val": "val", "test": "test"}


@dataclass(frozen=True, eq=False)
class TextInputs(TensorInputs):
    """Texts as word numbers: item ``i`` is int64 (length,), padded at its end.

    The digest covers the numbers, which are all that a network sees of a text.

    Args:
        tensor: int64 (n, length).
        vocabulary: the words that the numbers stand for.
    """

    vocabulary: Vocabulary

    def subset(self, indices: Sequence[int]) -> "TextInputs":
        """Returns a copy of the items at ``indices``."""
        return TextInputs(self.tensor[torch.as_tensor(indices, dtype=torch.int64)], self.vocabulary)


def texts_of(inputs: Inputs) -> TextInputs:
    """Returns inputs that must be texts, for those who need their vocabulary.

    Raises:
        UsageError: they are none.
    """
    if not isinstance(inputs, TextInputs):
        raise UsageError(f"{type(inputs).__name__} are no texts; a network of words needs a data set of sentences")
    return inputs


def open_text(path: str | Path, *, words: int = 5000, length: int = 48) -> Source:
    """Opens a folder with ``train.tsv``, ``test.tsv`` and perhaps ``dev.tsv`` (or ``val.tsv``), as SST-2 comes.

    A line is a sentence, a tab and its label, in UTF-8; there is no header. The labels of ``train.tsv``, sorted, are
    the classes. The vocabulary is that of ``train.tsv`` alone.

    Args:
        path: the folder.
        words: the most words with a number of their own, >= 1; the others are all "unknown".
        length: tokens of a sentence, >= 1; longer ones lose their end.

    Returns:
        The subsets train, test and, where there is such a file, val, of :class:`TextInputs`.

    Raises:
        UsageError: a file is missing, cannot be read, or has a line that is not as above; a file lacks a class or has
            one that train has not.
    """
    folder = Path(path)
    files = _files(folder)
    rows = {subset: _read(file) for subset, file in files.items()}
    _check_labels(files, {subset: [label for _, label in lines] for subset, lines in rows.items()})
    return text_source(rows, words, length)


def text_source(rows: Mapping[str, Sequence[tuple[str, str]]], words: int, length: int) -> Source:
    """Makes a source of texts; those of subset ``train`` decide the classes and the vocabulary.

    Args:
        rows: for each subset, ``train`` among them, its texts with their class names.
        words: the most words of the vocabulary.
        length: tokens of a text.
    """
    classes = tuple(sorted({label for _, label in rows["train"]}))
    vocabulary = Vocabulary.of((text for text, _ in rows["train"]), words)
    subsets = {}
    for subset, lines in rows.items():
        inputs = TextInputs(vocabulary.encode([text for text, _ in lines], length), vocabulary)
        subsets[subset] = Split(inputs, torch.tensor([classes.index(label) for _, label in lines]))
    return Source(classes, subsets)


def _files(folder: Path) -> dict[str, Path]:
    """Returns the file of each subset, train first."""
    if not folder.is_dir():
        raise UsageError(f"no folder {folder}; give the folder that holds train.tsv and test.tsv")
    found: dict[str, Path] = {}
    for name, subset in _FILES.items():
        file = folder / f"{name}.tsv"
        if not file.is_file():
            continue
        if subset in found:
            raise UsageError(f"folder {folder} has both {found[subset].name} and {file.name}; remove one")
        found[subset] = file
    for needed in ("train", "test"):
        if needed not in found:
            raise UsageError(
                f"folder {folder} has no {needed}.tsv; put one there, a sentence, a tab and a label a line"
            )
    return found


def _read(file: Path) -> list[tuple[str, str]]:
    """Returns the sentences of a file with their labels."""
    try:
        data = file.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror or error}; check the file") from error
    lines = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    if lines[-1] == b"":  # behind the last line's end
        lines.pop()
    if not lines:
        raise UsageError(f"{file} is empty; put a sentence, a tab and a label on each line")
    return [_parse(line, f"{file}, line {number}") for number, line in enumerate(lines, start=1)]


def _parse(line: bytes, where: str) -> tuple[str, str]:
    try:
        text = line.decode("utf-8").removesuffix("\r")
    except UnicodeDecodeError as error:
        raise UsageError(f"{where}: byte {error.start + 1} is not UTF-8; convert the file to UTF-8") from error
    if not text.strip():
        raise UsageError(f"{where} is empty; remove it")
    columns = text.split("\t")
    if len(columns) != 2:
        raise UsageError(f"{where} has {len(columns)} columns, not 2; write a sentence, a tab and a label")
    sentence, label = columns[0], columns[1].strip()
    if not tokenise(sentence):
        raise UsageError(f"{where} has no words before the tab; write a sentence there or remove the line")
    if not label:
        raise UsageError(f"{where} has no label behind the tab; write one there or remove the line")
    return sentence, label


def _check_labels(files: Mapping[str, Path], labels: Mapping[str, Sequence[str]]) -> None:
    """Raises unless every file has the classes of train, two at least."""
    known = sorted(set(labels["train"]))
    if len(known) < 2:
        raise UsageError(f"{files['train']} has only one label ({known[0]!r}); at least two are needed")
    for subset, given in labels.items():
        for number, label in enumerate(given, start=1):
            if label not in known:
                shown = ", ".join(known[:10]) + (", ..." if len(known) > 10 else "")
                raise UsageError(
                    f"{files[subset]}, line {number}: label {label!r} is none of those in "
                    f"{files['train'].name} ({shown}); correct it or remove the line"
                )
        for label in known:
            if label not in given:
                number = labels["train"].index(label) + 1
                raise UsageError(
                    f"{files[subset]} has no sentence of class {label!r} (as line {number} of {files['train'].name}); "
                    "give every file all classes, and none a header line"
                )
