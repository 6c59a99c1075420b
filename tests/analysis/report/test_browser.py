"""The page in a real browser, without a network."""

import contextlib
import shutil

import pytest

from analysis.report import gather, render

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ARGUMENTS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip

ROWS = "[...document.querySelectorAll('#member-table tbody tr:not([hidden])')]"

pytestmark = pytest.mark.skipif(
    CHROMIUM is None,
    reason="no chromium, chromium-browser or google-chrome on PATH: the report is not tried in a browser",
)


@pytest.fixture(scope="module")
def address(finished, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(render(gather(finished)), encoding="utf-8")
    return path.as_uri()


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser, address):
    """Opens the page; fails if it says an error or asks for anything but itself."""
    with contextlib.ExitStack() as stack:
        faults, asked = [], []

        def opened(**settings):
            context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, "offline": True} | settings)
            stack.callback(context.close)
            page = context.new_page()
            page.set_default_timeout(5000)
            page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
            page.on("pageerror", lambda error: faults.append(str(error)))
            page.on("request", lambda request: asked.append(request.url))
            page.goto(address)
            page.wait_for_selector("#scatter .point")
            return page

        yield opened
        assert faults == []
        assert {url.split("#")[0] for url in asked if not url.startswith("data:")} == {address}


def member(page, place=0):
    """The id of a visible front member that is not the selected one."""
    return page.evaluate(
        "n => [...document.querySelectorAll('#scatter .point.search:not(.picked)')].map(e => e.dataset.id)[n]", place
    )


def centre(page, solution):
    box = page.locator(f'#scatter [data-id="{solution}"] path').bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def picked(page):
    """The selected id in each view."""
    return [
        page.eval_on_selector_all(f"{view} .picked", "found => found.map(each => each.dataset.id)")
        for view in ("#scatter", "#parallel", "#member-table")
    ] + [page.locator("#details h3").all_inner_texts()]


def everywhere(solution):
    return [[solution]] * 4


def still(page):
    page.wait_for_timeout(600)  # until points and page have come to rest


def test_the_chosen_member_is_selected_at_first_in_every_view(open_page, finished):
    page = open_page()
    assert picked(page) == everywhere(finished.summary["seeds"]["1"]["chosen"])
    assert page.evaluate("window.broken") is None


def test_hover_shows_what_a_point_is(open_page, finished):
    page = open_page()
    page.locator("#scatter").scroll_into_view_if_needed()
    x, y = centre(page, member(page))
    page.mouse.move(x, y)
    tip = page.locator("#scatter .tip")
    assert tip.is_visible()
    shown = tip.inner_text()
    found = page.locator("#scatter .point.active").get_attribute("data-id")
    assert shown.startswith(f"{found} ·")
    row = finished.front[finished.front["solution"] == found].iloc[0]
    assert f"error {row['error_test']:.3f}" in shown
    assert page.locator("#parallel .active").get_attribute("data-id") == found
    page.mouse.move(5, 5)
    assert not tip.is_visible()


def test_a_click_selects_in_every_view(open_page):
    page = open_page()
    page.locator("#scatter").scroll_into_view_if_needed()
    place = centre(page, member(page))
    page.mouse.move(*place)
    wanted = page.locator("#scatter .point.active").get_attribute("data-id")  # of points on one place the topmost
    page.mouse.click(*place)
    assert picked(page) == everywhere(wanted)

    wanted = page.evaluate(f"{ROWS}[4].dataset.id")
    page.locator(f'#member-table tr[data-id="{wanted}"] td').nth(2).click()
    assert picked(page) == everywhere(wanted)

    page.locator("#parallel").scroll_into_view_if_needed()
    still(page)
    box = page.locator("#parallel svg").bounding_box()
    place = box["x"] + box["width"] / 2 + 40, box["y"] + box["height"] / 2
    page.mouse.move(*place)
    # Before the click: details of another length move the lines under a resting pointer.
    wanted = page.locator("#parallel .active").get_attribute("data-id")
    page.mouse.click(*place)
    assert picked(page) == everywhere(wanted)


def test_the_details_of_a_member_are_its_own(open_page, finished):
    page = open_page()
    chosen = finished.summary["seeds"]["1"]["chosen"]
    row = finished.front[finished.front["solution"] == chosen].iloc[0]
    text = page.locator("#details").inner_text()
    for split in ("search", "select", "test"):
        assert f"{row[f'error_{split}']:.3f}" in text
    kept = round(12 * row["active_fraction_test"])
    counts = [int(part.split(" of ")[0]) for part in page.locator("#details h4 span").all_inner_texts()]
    assert sum(counts) == kept
    command = " ".join(page.locator("#details code").inner_text().split())
    assert command.endswith(f"--format state-dict --solution {chosen}")
    assert command.startswith("moprune export '")  # the folder has a blank and a quote


@pytest.mark.parametrize("view", ["#scatter svg[tabindex]", "#parallel svg[tabindex]"])
def test_the_keyboard_moves_and_selects(open_page, view):
    page = open_page()
    first = page.locator("#details h3").inner_text()
    page.locator("#arrows").focus()
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("view => document.activeElement.matches(view)", view):
            break
    assert page.evaluate("view => document.activeElement.matches(view)", view)
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    active = page.locator("#scatter .point.active").get_attribute("data-id")
    described = page.evaluate(
        "document.getElementById(document.activeElement.getAttribute('aria-activedescendant')).dataset.id"
    )
    assert described == active
    page.keyboard.press("Enter")
    assert picked(page) == everywhere(active)
    assert active != first
    page.keyboard.press("Escape")
    assert picked(page) == [[], [], [], []]


def test_the_keyboard_moves_in_the_table(open_page):
    page = open_page()
    page.locator('#member-table tbody button[tabindex="0"]').focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowDown")
    wanted = page.evaluate("document.activeElement.dataset.id")
    assert wanted == page.evaluate(
        "[...document.querySelectorAll('#member-table tbody tr:not([hidden])')][1].dataset.id"
    )
    page.keyboard.press("Enter")
    assert picked(page) == everywhere(wanted)


def test_axes_and_splits_move_the_points(open_page):
    page = open_page()
    solution = member(page)
    places = [centre(page, solution)]
    page.locator("#split").get_by_label("search", exact=True).check()
    still(page)
    places.append(centre(page, solution))
    page.get_by_label("vertical").select_option("OOD AUROC")
    still(page)
    places.append(centre(page, solution))
    assert places[0][0] == pytest.approx(places[1][0], abs=1)  # a cost is the same on every split
    assert len({round(y) for _, y in places}) == 3
    page.get_by_label("vertical").select_option("active fraction")
    assert page.get_by_label("horizontal").input_value() == "2"  # the axes swap


def test_switches_hide_points_in_every_view(open_page):
    page = open_page()
    visible = (
        "view => [...document.querySelectorAll(view + ' [data-id]:not(button)')]"
        ".filter(e => getComputedStyle(e).display !== 'none').length"
    )
    views = ("#scatter", "#parallel", "#member-table")
    everything = [page.evaluate(visible, view) for view in views]
    page.locator("#groups").get_by_label("random masks").uncheck()
    fewer = [page.evaluate(visible, view) for view in views]
    page.locator("#seeds").get_by_label("2", exact=True).uncheck()
    fewest = [page.evaluate(visible, view) for view in views]
    assert len(set(everything)) == len(set(fewer)) == len(set(fewest)) == 1
    assert everything[0] > fewer[0] > fewest[0] > 0


def test_arrows_lead_from_search_to_test(open_page):
    page = open_page()
    assert page.locator("#scatter .shift").count() == 0
    page.locator("#arrows").check()
    assert page.locator("#scatter .shift").count() > 5


def test_a_box_zooms_and_a_button_goes_back(open_page):
    page = open_page()
    page.locator("#scatter").scroll_into_view_if_needed()
    before = page.locator("#scatter text").all_inner_texts()
    box = page.locator("#scatter svg").bounding_box()
    page.mouse.move(box["x"] + 150, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + 350, box["y"] + 250, steps=4)
    page.mouse.up()
    assert page.locator("#scatter text").all_inner_texts() != before
    page.get_by_role("button", name="whole front").click()
    assert page.locator("#scatter text").all_inner_texts() == before


def test_a_heading_sorts(open_page):
    page = open_page()
    button = page.get_by_role("button", name="sort by error test")
    column = f"{ROWS}.map(row => Number(row.cells[6].textContent))"
    button.click()
    up = page.evaluate(column)
    assert up == sorted(up)
    assert page.locator('th[aria-sort="ascending"]').count() == 1
    button.click()
    assert page.evaluate(column) == sorted(up, reverse=True)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_telephone_needs_no_scrolling_sideways(open_page, scheme):
    page = open_page(viewport={"width": 390, "height": 844}, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.locator("#scatter svg").bounding_box()["width"] > 300


def test_print_shows_every_seed_and_no_controls(open_page, finished):
    page = open_page()
    page.locator("#seeds").get_by_label("2", exact=True).uncheck()
    page.emulate_media(media="print")
    assert not page.locator(".controls").is_visible()
    assert not page.locator("nav").is_visible()
    rows = page.eval_on_selector_all(
        "#member-table tbody tr", "all => all.filter(e => e.checkVisibility()).map(e => e.dataset.id)"
    )
    assert {entry["chosen"] for entry in finished.summary["seeds"].values()} <= set(rows)


def test_without_scripts_the_text_is_there(browser, address):
    context = browser.new_context(java_script_enabled=False, offline=True)
    page = context.new_page()
    page.goto(address)
    text = page.locator("main").inner_text()
    assert "Tables and text are complete" in text
    assert "</script><script>window.broken = 1</script>" in text  # as words
    context.close()
