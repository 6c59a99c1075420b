"""Real text that is at hand offline: what Python's standard library says about itself."""

import ast
import hashlib
import sysconfig
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from moprune.data.sources import Source
from moprune.data.text import text_source
from moprune.data.vocabulary import tokenise
from moprune.errors import UsageError

PACKAGES = ("asyncio", "email", "http", "importlib", "logging", "multiprocessing", "unittest", "xml")
"""The classes: packages of the standard library with the most to say, in every Python since 3.11."""

_FEWEST_TOKENS = 5
# Of ten texts, by a digest of the text: a docstring stays where it is when others come and go.
_SUBSETS = ("train",) * 6 + ("val",) * 2 + ("test",) * 2
_Documented = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def open_docstrings(*, words: int = 1000, length: int = 32) -> Source:
    """Opens the first paragraphs of docstrings in the standard library; the class is the package they document.

    Those of public classes, functions and methods, read from the source files: nothing is imported. A text stands
    once, and not at all if two packages have it. The texts vary a little between Python versions, and the digest
    with them.

    Args:
        words: the most words with a number of their own, >= 1; the others are all "unknown".
        length: tokens of a text, >= 1; longer ones lose their end.

    Returns:
        The subsets train, val and test (about 6 : 2 : 2) of :class:`moprune.data.TextInputs`.

    Raises:
        UsageError: this Python comes without the sources of its standard library.
    """
    texts = {package: sorted(set(_paragraphs(package))) for package in PACKAGES}
    owners = Counter(text for found in texts.values() for text in found)
    rows: dict[str, list[tuple[str, str]]] = {"train": [], "val": [], "test": []}
    for package, found in texts.items():
        for text in found:
            if owners[text] == 1:
                rows[_subset(text)].append((text, package))
    return text_source(rows, words, length)


def _paragraphs(package: str) -> Iterator[str]:
    """Yields the first paragraph of each public docstring of a package, its tokens separated by spaces."""
    folder = Path(sysconfig.get_path("stdlib")) / package
    files = sorted(folder.rglob("*.py"))
    if not files:
        raise UsageError(
            f"no source files in {folder}; docstrings need a Python with its standard library as .py files"
        )
    for file in files:
        if "test" in file.relative_to(folder).parts:
            continue
        for node in ast.walk(ast.parse(file.read_bytes(), str(file))):
            if isinstance(node, _Documented) and not node.name.startswith("_"):
                tokens = tokenise((ast.get_docstring(node) or "").split("\n\n")[0])
                if len(tokens) >= _FEWEST_TOKENS:
                    yield " ".join(tokens)


def _subset(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return _SUBSETS[int.from_bytes(digest[:8], "big") % len(_SUBSETS)]
