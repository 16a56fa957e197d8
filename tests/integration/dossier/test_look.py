"""The pages of recorded deployments as people see them, in Chromium: on a desk, on a phone, in the dark, on paper."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible_collections.eazepay.ops.plugins.plugin_utils.dossier import render

from tests.browser import Page
from tests.conftest import ROOT

RECORDED = sorted((ROOT / "tests" / "unit" / "dossier" / "recorded").glob("*.json"))
DESK, PHONE = (1280, 800), (390, 844)


@pytest.fixture(scope="module")
def browser():
    with Page() as page:
        yield page


@pytest.fixture(params=RECORDED, ids=lambda file: file.stem)
def shown(request, tmp_path):
    file = tmp_path / "dossier.html"
    found = json.loads(request.param.read_text())
    file.write_text(render.page(found))
    return file, found


def bottom(browser: Page, what: str) -> float:
    return browser.ask(f"document.querySelector('{what}').getBoundingClientRect().bottom")


def background(browser: Page) -> list[int]:
    color = browser.ask("getComputedStyle(document.body).backgroundColor")
    return [int(part) for part in color.strip("rgb()").split(",")[:3]]


def test_it_asks_nobody_for_anything_and_nothing_is_wrong_with_it(browser, shown):
    file, _found = shown
    browser.requests.clear()
    browser.show(file, *DESK)
    assert browser.requests == [file.as_uri()]
    assert browser.errors == []


def test_what_failed_why_and_where_everything_stands_is_on_the_first_screen(browser, shown):
    file, found = shown
    browser.show(file, *DESK)
    assert bottom(browser, "header") < bottom(browser, ".states") <= DESK[1]
    header = browser.ask("document.querySelector('header').innerText")
    for cause in (found["failure"] or {}).get("causes", ()):
        assert cause["name"] in header and cause["text"][:60] in header
    states = browser.ask("document.querySelector('.states').innerText")
    assert all(one["name"] in states and one["text"][:40] in states for one in found["states"])
    browser.show(file, *PHONE)
    assert bottom(browser, "header") <= PHONE[1]


def test_nothing_is_wider_than_a_phone(browser, shown):
    browser.show(shown[0], *PHONE)
    assert browser.ask("document.documentElement.scrollWidth") <= PHONE[0]
    assert browser.ask("parseFloat(getComputedStyle(document.body).fontSize)") >= 14


def test_it_is_dark_in_the_dark_and_light_on_paper(browser, shown):
    file, _found = shown
    browser.show(file, *DESK)
    assert min(background(browser)) > 230
    browser.show(file, *DESK, dark=True)
    assert max(background(browser)) < 50
    ink = browser.ask("getComputedStyle(document.querySelector('h1')).color")
    assert min(int(part) for part in ink.strip("rgb()").split(",")[:3]) > 180
    paper = browser.call("Page.printToPDF", preferCSSPageSize=True)["data"]
    assert len(paper) > 10_000


def test_graphs_show_limits_and_the_steps_of_the_run(browser, shown):
    file, found = shown
    browser.show(file, *DESK)
    assert browser.ask("document.querySelectorAll('svg polyline').length") == len(found["graphs"])
    near = [one for one in found["graphs"] if render.graph.limits_in_sight(one)]
    assert near, "no recorded check has a limit in sight"
    assert browser.ask("document.querySelectorAll('svg rect').length") >= len(near)
    marks = browser.ask("document.querySelector('svg').textContent")
    assert "rollout" in marks


def test_the_pictures_in_the_documentation_are_of_these_pages():
    for name in ("failed-light", "failed-dark", "failed-phone", "good-light", "breach-light"):
        picture = Path(ROOT / "docs" / "images" / f"dossier-{name}.png")
        assert picture.read_bytes().startswith(b"\x89PNG") and picture.stat().st_size < 300_000
