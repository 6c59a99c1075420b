import email.utils
import http.cookiejar
import inspect
import sysconfig

import pytest

from moprune.data import Task, open_docstrings, texts_of
from moprune.data.docstrings import PACKAGES
from moprune.data.vocabulary import tokenise
from moprune.errors import UsageError


def paragraphs(source, package):
    """What a source has of one package, by subset, in words that it knows."""
    label = source.classes.index(package)
    found = {}
    for name, part in source.subsets.items():
        texts = texts_of(part.inputs)
        found[name] = [texts.vocabulary.decode(texts[i]) for i in (part.labels == label).nonzero().flatten().tolist()]
    return found


def known(source, text):
    """A text in the words that a source knows."""
    vocabulary = texts_of(source.subset("train").inputs).vocabulary
    return vocabulary.decode(vocabulary.encode([text], 200)[0])


def test_real_docstrings_are_there_under_their_package():
    source = open_docstrings(words=100_000, length=200)
    assert source.classes == PACKAGES
    for module in (email.utils, http.cookiejar):
        package = module.__name__.partition(".")[0]
        there = [text for texts in paragraphs(source, package).values() for text in texts]
        functions = [each for _, each in inspect.getmembers(module, inspect.isfunction) if each.__doc__]
        documented = [each for each in functions if each.__module__ == module.__name__ and each.__name__[0] != "_"]
        assert len(documented) >= 3
        for function in documented:
            text = (inspect.getdoc(function) or "").split("\n\n")[0]
            if len(tokenise(text)) >= 5:
                assert known(source, text) in there


def test_subsets_and_classes_are_large_enough():
    source = open_docstrings()
    sizes = {name: len(part) for name, part in source.subsets.items()}
    total = sum(sizes.values())
    assert total > 1000
    for name, share in (("train", 0.6), ("val", 0.2), ("test", 0.2)):
        assert sizes[name] == pytest.approx(share * total, rel=0.2)
        assert source.subset(name).labels.bincount(minlength=len(PACKAGES)).min() >= 10
    task = Task.from_source(source)
    assert task.train.digest() == source.subset("train").digest()
    assert open_docstrings().subset("test").digest() == source.subset("test").digest()


@pytest.fixture
def library(tmp_path, monkeypatch):
    """Returns a function that makes a small standard library, the same few docstrings in each package but one."""
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path / name))

    def write(**more):
        for package in PACKAGES:
            file = tmp_path / "stdlib" / package / "sub" / "module.py"
            file.parent.mkdir(parents=True)
            numbered = "".join(f'def f{i}():\n    """About {package} it says {i}."""\n' for i in range(40))
            file.write_text(numbered + more.get(package, ""))
        return tmp_path / "stdlib"

    return write


def test_which_docstrings_are_taken(library):
    shared = 'class Shared:\n    """Both packages have this very text."""\n'
    root = library(
        http=shared
        + '''
class Thing:
    """One thing that is public,

    with a second paragraph."""
    async def method(self):
        """Do what a method does here."""
    def _private(self):
        """This is nobody's business at all."""
def again():
    """Do what a method does here."""
def brief():
    """Do it now."""
''',
        email=shared,
    )
    (root / "http" / "test").mkdir()
    (root / "http" / "test" / "case.py").write_text('def f():\n    """A test says this and that."""\n')
    source = open_docstrings(words=9999, length=200)
    found = [text for texts in paragraphs(source, "http").values() for text in texts]
    assert len(found) == 40 + 2
    for text in ("One thing that is public,", "Do what a method does here."):
        assert found.count(known(source, text)) == 1


def test_a_text_stays_in_its_subset_when_others_come(library):
    root = library()
    before = {name: set(texts) for name, texts in paragraphs(open_docstrings(words=9999), "xml").items()}
    (root / "xml" / "new.py").write_text('def new():\n    """About xml it says 0 and more."""\n')
    after = {name: set(texts) for name, texts in paragraphs(open_docstrings(words=9999), "xml").items()}
    assert sum(len(after[name] - before[name]) for name in before) == 1
    assert all(before[name] <= after[name] for name in before)


def test_a_python_without_sources(tmp_path, monkeypatch):
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    with pytest.raises(UsageError, match=r"no source files in .*asyncio; docstrings need a Python with"):
        open_docstrings()
