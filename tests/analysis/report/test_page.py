import dataclasses
import html
import json
import re
from html.parser import HTMLParser

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analysis.report import gather, render
from analysis.report.page import safe_json

HOSTILE = "</script><script>window.broken = 1</script>"


class Reader(HTMLParser):
    """Collects the elements, what they would load, their ids, and the text of scripts."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.loads, self.ids, self.scripts, self.links, self.handlers = [], [], [], [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        for name, value in attributes:
            if name in ("src", "srcset", "data", "poster") or (name == "href" and tag == "link"):
                self.loads.append(value)
            elif name == "href":
                self.links.append(value)
            elif name == "id":
                self.ids.append(value)
            elif name.startswith("on") or name == "style":
                self.handlers.append((tag, name))

    def handle_data(self, text):
        if self.tags[-1:] == ["script"]:
            self.scripts.append(text)


@pytest.fixture(scope="module")
def page(finished):
    return render(gather(finished))


def test_nothing_of_the_run_becomes_markup(page):
    reader = Reader(page)
    assert reader.tags.count("script") == 2
    assert "b" not in reader.tags
    assert HOSTILE not in page
    assert reader.handlers == []


def test_the_data_read_back_as_they_were(page, finished):
    data = json.loads(re.search(r'<script type="application/json" id="report-data">(.*?)</script>', page, re.S)[1])
    assert data["run"] == str(finished.folder)
    assert len(data["points"]) == len(finished.front) + len(finished.controls)


def test_json_cannot_end_its_element():
    hostile = f"{HOSTILE} <!-- & \u2028"
    text = safe_json({"name": hostile})
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == {"name": hostile}


def test_nothing_is_fetched(page):
    reader = Reader(page)
    assert [each for each in reader.loads if not each.startswith("data:")] == []
    assert not re.search(r"url\((?!#)|@import|fetch\(|XMLHttpRequest|import\(", page)
    assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)", page)
    assert "default-src 'none'" in html.unescape(page)


def test_every_link_leads_to_a_section(page):
    reader = Reader(page)
    assert reader.links
    assert {link.removeprefix("#") for link in reader.links} <= set(reader.ids)
    assert len(reader.ids) == len(set(reader.ids))


def test_what_was_not_made_says_which_command_makes_it(page):
    assert "moprune ensemble" in page
    assert "moprune explain" in page


def test_the_same_run_gives_the_same_page(page, finished):
    assert render(gather(finished)) == page


class Structure(HTMLParser):
    """The elements of a page with the names of their attributes, in order, and all that is text."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.text = [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, *(name for name, _ in attributes)))

    def handle_endtag(self, tag):
        self.elements.append(f"/{tag}")

    def handle_comment(self, text):
        self.elements.append("a comment")

    def handle_decl(self, text):
        self.elements.append("a declaration")

    def handle_data(self, text):
        self.text.append(text)


def ending_in(value, text):
    """Returns content with ``text`` behind every string in it, however deep, keys of mappings included."""
    if isinstance(value, str):
        return value + text
    if dataclasses.is_dataclass(value):
        return dataclasses.replace(
            value, **{f.name: ending_in(getattr(value, f.name), text) for f in dataclasses.fields(value)}
        )
    if isinstance(value, dict):
        return {ending_in(key, text): ending_in(each, text) for key, each in value.items()}
    return type(value)(ending_in(each, text) for each in value) if isinstance(value, list | tuple) else value


PIECES = (
    "</script>", "<script>alert(1)</script>", "<!--", "-->", "]]>", "<![CDATA[", "</style>", "</title>", "<b>", "\"",
    "'", "`", "&", "&lt;", "&#60;b>", "\\u003cb>", "{{ 7 * 7 }}", "{% raw %}", "\u202e", "\u2028", "\x00", "onload=x ",
    "\udcff", "javascript:", "\r\n", "<img src=x onerror=alert(1)>", "</textarea>", "+ADw-", "\ufeff",
)  # fmt: skip


@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=4), min_size=1, max_size=6).map("".join))
def test_no_text_of_a_run_adds_an_element_or_an_attribute(finished, text):
    content = gather(finished)
    harmless, hostile = (Structure(render(ending_in(content, each))) for each in ("x", text))
    assert hostile.elements == harmless.elements
    (data,) = [each for each in hostile.text if each.startswith('{"goals')]
    assert json.loads(data)["run"] == str(finished.folder) + text
