"""The console in a real browser, on a real server: what a person sees, and what an attacker does not get."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, cast
from urllib.parse import quote

import pytest
from site_rig import ATTACKERS, MARKUP, Site

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

pytestmark = pytest.mark.browser
WAIT = 20_000


@pytest.fixture
def context(site: Site, browser: object) -> Iterator["BrowserContext"]:
    """A fresh browser that may talk to the site and to nothing else; what else it tried fails the test."""
    context = cast("Browser", browser).new_context(viewport={"width": 1360, "height": 900})
    context.set_default_timeout(WAIT)
    elsewhere: list[str] = []
    context.on(
        "request", lambda r: elsewhere.append(r.url) if not r.url.startswith((site.url, "data:")) else None
    )
    yield context
    context.close()
    assert elsewhere == [], "the console asks nobody but its own server"


@pytest.fixture
def page(context: "BrowserContext") -> Iterator["Page"]:
    """A page whose scripts must not fail."""
    page = context.new_page()
    failures: list[str] = []
    page.on("pageerror", lambda error: failures.append(str(error)))
    yield page
    assert failures == []


def sign_in(page: "Page", site: Site) -> None:
    page.goto(site.link())
    page.get_by_role("button", name="Sign in to deepmoat").click()
    page.wait_for_url(f"{site.url}/")


def test_a_person_signs_in_by_link_and_sees_the_overview(page: "Page", site: Site) -> None:
    page.goto(site.url)
    assert page.url == f"{site.url}/sign-in"
    assert page.get_by_text("deepmoat link").is_visible()
    sign_in(page, site)
    tiles = {
        t.inner_text().split("\n")[0]: t.inner_text().split("\n")[1] for t in page.locator(".moat-tile").all()
    }
    assert float(tiles["Requests per second"]) > 10
    assert tiles["Open incidents"] == "2"
    assert tiles["Stopped at the edge"].endswith("k")
    assert page.get_by_text("40 clients send 30 requests a second").first.is_visible()
    assert page.get_by_text("US", exact=True).first.is_visible()
    assert page.locator(".moat-chart svg path").count() > 50


def test_the_overview_refreshes_itself_while_it_is_open(page: "Page", site: Site) -> None:
    sign_in(page, site)
    before = page.locator(".moat-tile").nth(4).inner_text()
    assert "1" in before.split("\n")
    try:
        site.rig.clock.now += 3600
        page.locator(".moat-tile").nth(4).get_by_text("0", exact=True).wait_for()
        assert page.get_by_text("Nothing is blocked.").is_visible()
    finally:
        site.rig.clock.now -= 3600


def test_an_administrator_ends_an_action_now(page: "Page", site: Site) -> None:
    sign_in(page, site)
    page.get_by_role("button", name="End now").click()
    page.get_by_text("Ended. The edge lets it pass again.").wait_for()
    page.get_by_text("Nothing is blocked.").wait_for()
    kept = site.rig.actions.get("01KFYX0000ACTION000000000")
    assert kept is not None
    assert kept.ended_by == "admin"


def test_a_query_shows_rows_a_histogram_and_one_record_in_full(page: "Page", site: Site) -> None:
    sign_in(page, site)
    page.get_by_role("link", name="Search").click()
    page.get_by_label("Query").fill("status:403")
    page.get_by_role("button", name="Run").click()
    page.locator("tbody tr").first.wait_for()
    assert page.get_by_text(re.compile(r"1\.5k records found, the first 200 rows shown")).is_visible()
    assert page.locator(".moat-chart svg").is_visible()
    assert "q=status%3A403" in page.url
    page.locator("tbody tr").first.click()
    drawer = page.locator(".moat-drawer")
    drawer.get_by_text("http_response_status_code").wait_for()
    assert drawer.get_by_text("198.51.100.40").is_visible()


def test_a_link_to_a_query_runs_it_and_an_analysis_is_a_table(page: "Page", site: Site) -> None:
    sign_in(page, site)
    text = "* | select client_address as who, count(*) as n from log group by who order by n desc limit 3"
    page.goto(f"{site.url}/search?since=-15m&q={quote(text)}")
    page.locator("tbody tr").first.wait_for()
    heads = [text.replace("arrow_upward", "").strip() for text in page.locator("thead th").all_inner_texts()]
    assert heads == ["who", "n"]
    assert all(row.split("\t")[0] in ATTACKERS for row in page.locator("tbody tr").all_inner_texts())


def test_a_mistake_is_shown_with_its_place(page: "Page", site: Site) -> None:
    sign_in(page, site)
    page.goto(f"{site.url}/search")
    page.get_by_label("Query").fill("status:200 )")
    page.keyboard.press("Enter")
    alert = page.get_by_role("alert")
    alert.wait_for()
    line, caret = alert.locator(".moat-caret").inner_text().split("\n")
    assert line == "status:200 )"
    assert caret.index("^") == line.index(")")


def test_a_click_on_a_bar_looks_closer(page: "Page", site: Site) -> None:
    sign_in(page, site)
    page.goto(f"{site.url}/search?q=*&since=-15m")
    page.locator("tbody tr").first.wait_for()
    box = page.locator(".moat-chart").bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + box["width"] - 60, box["y"] + box["height"] - 40)
    page.wait_for_url(re.compile("until="))
    page.get_by_text(re.compile("^From 2026-01-27")).first.wait_for()


def test_an_incident_shows_its_story_and_leads_to_its_evidence(page: "Page", site: Site) -> None:
    sign_in(page, site)
    page.get_by_role("link", name="Incidents").first.click()
    page.get_by_text("40 clients send 30 requests a second").click()
    page.get_by_text("found by request_burst").wait_for()
    assert page.locator(".moat-chip").count() == 40
    page.locator(".moat-evidence").first.click()
    page.locator("tbody tr").first.wait_for()
    assert page.url.startswith(f"{site.url}/search?q=")


HOSTILE_PAGES = (
    "/",
    "/incidents",
    "/incidents/01KFYX0000AHOSTILE0000000",
    "/search?q=hostile&since=-15m",
    "/search?q=*&since=-15m&logstore=app",
    "/search?since=-15m&q=*%20%7C%20select%20user_agent_original%20as%20%22:x%22%20from%20log%20where%20status%3D404",
    "/search?since=-15m&q=%3Cscript%3Ewindow.hacked%3D4%3C/script%3E%3Cimg%20src%3Dx%20onerror%3Dwindow.hacked%3D5%3E%20)",
    "/search?since=%3Cimg%20src%3Dx%20onerror%3Dwindow.hacked%3D6%3E&q=*&logstore=%3Cscript%3E",
)


@pytest.mark.parametrize("path", HOSTILE_PAGES)
def test_markup_from_a_log_is_text_and_runs_nothing(page: "Page", site: Site, path: str) -> None:
    sign_in(page, site)
    page.goto(site.url + path)
    shown = page.locator("body").get_by_text("onerror=window.hacked").or_(page.get_by_text("is no time"))
    shown.first.wait_for()
    if "search" in path and page.locator("tbody tr").count():
        page.locator("tbody tr").first.click()
        page.locator(".moat-drawer .moat-content").first.wait_for()
        assert any(MARKUP in text for text in page.locator(".moat-content").all_inner_texts())
    page.wait_for_function("document.images.length > 0")
    assert page.locator("img[src='x']").count() == 0
    assert page.evaluate("window.hacked") is None


def test_a_script_that_got_into_a_page_would_not_run(page: "Page", site: Site) -> None:
    sign_in(page, site)
    page.evaluate(
        "document.body.insertAdjacentHTML('beforeend', '<img src=/nonsense onerror=window.hacked=7>')"
    )
    page.wait_for_function("[...document.images].every(i => i.complete)")
    assert page.evaluate("window.hacked") is None


def test_a_link_that_was_used_or_is_wrong_lets_nobody_in(page: "Page", site: Site) -> None:
    link = site.link()
    page.goto(link)
    page.get_by_role("button").click()
    page.wait_for_url(f"{site.url}/")
    page.context.clear_cookies()
    for wrong in (link, f"{site.url}/sign-in?link=moatlink_nonsense"):
        page.goto(wrong)
        page.get_by_role("button").click()
        page.get_by_text("Not signed in").wait_for()
        page.goto(site.url)
        assert page.url == f"{site.url}/sign-in"


def test_too_many_wrong_links_shut_the_door_even_for_a_right_one(page: "Page", site: Site) -> None:
    try:
        for _ in range(site.rig.identity.settings.address_burst + 1):
            page.goto(f"{site.url}/sign-in?link=moatlink_nonsense")
            page.get_by_role("button").click()
            page.get_by_text("Not signed in").wait_for()
        page.goto(site.link())
        page.get_by_role("button").click()
        page.get_by_text("too many failed attempts").wait_for()
        page.goto(site.url)
        assert page.url == f"{site.url}/sign-in"
    finally:
        site.rig.identity.attempts._by_address.clear()


def test_signing_out_ends_every_open_page_of_the_session(context: "BrowserContext", site: Site) -> None:
    one, other = context.new_page(), context.new_page()
    sign_in(one, site)
    closed: list[bool] = []
    other.on("websocket", lambda socket: socket.on("close", lambda _: closed.append(True)))
    other.goto(site.url)
    other.locator(".moat-tile").first.wait_for()
    other.wait_for_function("window.socket && window.socket.connected")
    one.get_by_role("button", name="Sign out").click()
    one.wait_for_url(f"{site.url}/sign-in")
    other.wait_for_url(f"{site.url}/sign-in")
    assert closed


def test_an_analyst_sees_and_asks_but_ends_nothing(page: "Page", site: Site) -> None:
    now = site.rig.clock.now
    page.goto(f"{site.url}/sign-in?link={site.rig.identity.link('eve', now, role='analyst')}")
    page.get_by_role("button").click()
    page.get_by_text("Actions in force").first.wait_for()
    assert page.get_by_role("button", name="End now").count() == 0
    page.goto(f"{site.url}/search?q=*&since=-15m")
    page.locator("tbody tr").first.wait_for()


def test_the_pages_fit_a_phone(page: "Page", site: Site) -> None:
    sign_in(page, site)
    page.set_viewport_size({"width": 390, "height": 844})
    for path in ("/", "/search?q=*&since=-15m", "/incidents", "/incidents/01KFYX0000BURST0000000000"):
        page.goto(site.url + path)
        page.locator(".moat-main > *").first.wait_for()
        wide = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        assert wide <= 0, path


def test_the_export_is_the_rows_of_the_page(page: "Page", site: Site) -> None:
    sign_in(page, site)
    page.goto(f"{site.url}/search?since=-15m&q=hostile")
    page.locator("tbody tr").first.wait_for()
    with page.expect_download() as download, page.expect_popup():
        page.get_by_role("link", name="CSV").click()
    text = download.value.path().read_text()
    assert text.startswith("time,source,client_address")
    assert "203.0.113.66" in text
