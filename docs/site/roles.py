"""Docstrings as Markdown: the Sphinx roles they refer to each other by become links, their tables become readable."""

import re
from typing import Any

from griffe import AliasResolutionError, Docstring, Extension, Module, NameResolutionError, Object

_ROLE = re.compile(r":(?:class|func|meth|data|mod|attr|exc|obj):`~?([\w.]+)`")
_TABLE = re.compile(r"^(=+ +=[= ]*\n.*?\n(?:=+ +=[= ]*)(?:\n.*?\n=+ +=[= ]*)?)$", re.DOTALL | re.MULTILINE)
_LITERAL_BLOCK = re.compile(r"::\n(?=\n +)")


class Roles(Extension):
    """Rewrites every docstring of a package once it is loaded."""

    def on_package(self, *, pkg: Module, **_: Any) -> None:
        """Rewrites the docstrings of a package and of all that it holds."""
        self._rewrite(pkg)

    def _rewrite(self, item: Object) -> None:
        if item.docstring is not None:
            item.docstring.value = as_markdown(item.docstring, item)
        for member in item.members.values():
            if not member.is_alias:
                self._rewrite(member)  # type: ignore[arg-type]


def as_markdown(docstring: Docstring, item: Object) -> str:
    """Returns the text of a docstring as Markdown; names that nothing public stands behind stay plain."""

    def link(role: re.Match[str]) -> str:
        return f'<autoref optional identifier="{_path(role[1], item)}"><code>{role[1]}</code></autoref>'

    text = _ROLE.sub(link, docstring.value)
    text = _LITERAL_BLOCK.sub(":\n", text)
    return _TABLE.sub(r"```text\n\1\n```", text)


def _path(name: str, item: Object) -> str:
    """Returns the full path of a name as an item's docstring uses it."""
    first, _, rest = name.partition(".")
    try:
        found = item.resolve(first)
    except (NameResolutionError, AliasResolutionError):
        return name
    return f"{found}.{rest}" if rest else found
