"""The site holds what it promises, and links work in the repository as well as on the site.

That no page links to nothing on the site is what ``mkdocs build --strict`` is for.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("moprune", "problems", "analysis")
PAGES = [*ROOT.glob("*.md"), *sorted(ROOT.glob("docs/**/*.md"))]
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for package in PACKAGES
    for path in (ROOT / package).rglob("*.py")
    if not path.stem.startswith("_") or path.stem == "__init__"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return folder


def html(site, page):
    return (site / page / "index.html").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_within_the_repository_lead_to_files(page):
    links = re.findall(r"\]\((?![a-z]+:|#)([^)#\s]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_public_module_is_in_the_reference(site):
    reference = "".join(path.read_text() for path in site.glob("api/*/index.html"))
    ids = set(re.findall(r'id="([\w.]+)"', reference))
    assert [module for module in MODULES if module not in ids] == []
    assert "moprune.search.search" in ids
    assert "analysis.plots.fronts.front" in ids


def test_docstrings_are_shown_without_the_marks_of_another_language(site):
    reference = "".join(path.read_text() for path in site.glob("api/*/index.html"))
    assert re.findall(r":(?:class|func|meth|data|mod):", reference) == []
    assert "====" not in re.sub(r"<pre.*?</pre>", "", reference, flags=re.DOTALL)


def test_a_link_to_a_module_leads_to_the_reference(site):
    assert 'href="../api/moprune/#moprune.contexts"' in html(site, "algorithms")


def test_a_link_to_another_file_leads_to_its_text(site):
    assert 'href="../source/tests/oracles/mealpy_reference.py/"' in html(site, "algorithms")
    assert "mealpy" in html(site, "source/tests/oracles/mealpy_reference.py")


def test_names_in_docstrings_are_links(site):
    assert re.search(r'href="[^"]*#moprune\.objectives\.Objective"', html(site, "api/moprune.testing"))


def test_the_site_needs_no_other_site(site):
    for page in site.rglob("*.html"):
        fetched = re.findall(r'<(?:script|link|img)[^>]*(?:src|href)="(https?://[^"]+)"', page.read_text())
        assert fetched == [], page
