"""What MkDocs publishes besides the pages of this folder: the API reference, notebooks, and files that pages link to.

Links are written as they work in the repository (``../moprune/contexts.py``); here they become links within the site.
"""

import json
import os.path
import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from pygments.formatters import HtmlFormatter

DOCS = Path(__file__).parents[1]
ROOT = DOCS.parent
PACKAGES = ("moprune", "problems", "analysis")
ROOT_PAGES = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}

_LINK = re.compile(r"\]\((?![a-z]+:|#)([^)#\s]+)(#[^)\s]*)?\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Adds the API reference to the navigation, a page a package."""
    reference = [{package: _api_page(package)} for package in _packages()]
    config.nav = [*(config.nav or []), {"API reference": reference}]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the generated pages, and the colours of code."""
    pages = {"site/pygments.css": HtmlFormatter(style="friendly").get_style_defs(".highlight")}
    pages |= {_api_page(package): _api(package, modules) for package, modules in _packages().items()}
    pages |= {page: (ROOT / name).read_text() for name, page in ROOT_PAGES.items()}
    pages |= {f"notebooks/{path.stem}.md": _notebook(path) for path in sorted((ROOT / "notebooks").glob("*.ipynb"))}
    for path in _linked_sources(files):
        pages[_published(path)] = f"# {path.relative_to(ROOT)}\n\n```{path.suffix[1:]}\n{path.read_text()}\n```\n"
    for name, content in pages.items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """Turns the links of a page, which lead to files of the repository, into links within the site."""
    uri = page.file.src_uri
    home = {site: ROOT / name for name, site in ROOT_PAGES.items()}.get(uri)
    if home is None:
        home = ROOT / uri if uri.startswith("notebooks/") else DOCS / uri

    def within_the_site(link: re.Match[str]) -> str:
        target, anchor = _published((home.parent / link[1]).resolve()), link[2] or ""
        if "#" in target:
            anchor = ""
        return f"]({os.path.relpath(target, Path(uri).parent)}{anchor})"

    return _LINK.sub(within_the_site, markdown)


def _published(path: Path) -> str:
    """Returns where the site has a file of the repository."""
    if path.is_relative_to(DOCS):
        return path.relative_to(DOCS).as_posix()
    name = path.relative_to(ROOT)
    if name.as_posix() in ROOT_PAGES:
        return ROOT_PAGES[name.as_posix()]
    if name.suffix == ".ipynb":
        return name.with_suffix(".md").as_posix()
    for package, modules in _packages().items():
        if (module := ".".join(name.with_suffix("").parts).removesuffix(".__init__")) in modules:
            return f"{_api_page(package)}#{module}"
    return f"source/{name.as_posix()}.md"


def _linked_sources(files: Files) -> Iterator[Path]:
    """Yields the files outside of this folder that its pages link to and that are published as they are."""
    for file in files.documentation_pages():
        for link in _LINK.finditer(Path(file.abs_src_path or "").read_text()):
            target = (DOCS / file.src_uri).parent.joinpath(link[1]).resolve()
            if target.is_file() and _published(target).startswith("source/"):
                yield target


def _packages() -> dict[str, list[str]]:
    """Returns the public packages, those that build on others last, each with its public modules, itself first."""
    found: dict[str, list[str]] = {}
    for top in PACKAGES:
        for folder in sorted(path.parent for path in (ROOT / top).rglob("__init__.py")):
            parts = folder.relative_to(ROOT).parts
            modules = sorted(path.stem for path in folder.glob("*.py") if not path.stem.startswith("_"))
            found[".".join(parts)] = [".".join(parts), *(".".join([*parts, module]) for module in modules)]
    return found


def _api_page(package: str) -> str:
    return f"api/{package}.md"


def _api(package: str, modules: list[str]) -> str:
    """Returns the page of a package: what it is for, then its modules."""
    overview = f"::: {package}\n    options:\n      members: false\n      heading_level: 1\n"
    return "\n".join([overview, *(f"::: {module}\n" for module in modules[1:])])


def _notebook(path: Path) -> str:
    """Returns a notebook without its outputs as a page."""
    cells = json.loads(path.read_text())["cells"]
    texts = [(cell["cell_type"], "".join(cell["source"])) for cell in cells]
    return "\n\n".join(text if kind == "markdown" else f"```python\n{text}\n```" for kind, text in texts) + "\n"
