import html
import json
import re
from html.parser import HTMLParser

import pytest

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
