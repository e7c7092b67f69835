"""A real server with one node, and a real browser that looks at its console."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

from pilothouse.wire.console import FILES
from tests.acceptance.installation import AgentProcess, Installation, installation

CHROMIUM = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")

expect.set_options(timeout=20_000)


@pytest.fixture(scope="session")
def chromium() -> str:
    """The machine's own Chromium; where there is none these tests are left out, but for continuous integration."""
    found = os.environ.get("PILOTHOUSE_TEST_CHROMIUM") or next(filter(None, map(shutil.which, CHROMIUM)), "")
    missing = (
        "no Chromium is installed" if not found else "" if (FILES / "index.html").is_file() else "no console built"
    )
    if missing and os.environ.get("CI"):
        pytest.fail(f"{missing}; in CI nothing may be skipped")
    if missing:
        pytest.skip(f"{missing}; the console's tests are left out")
    return found


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    """Once for each module: while Playwright runs, its event loop is this thread's, and no other test may have one."""
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield started
        started.close()


@dataclass(frozen=True)
class Site:
    """The installation that these tests share, and its node."""

    house: Installation
    node: AgentProcess

    @property
    def url(self) -> str:
        return f"{self.house.url}/console"


@pytest.fixture(scope="session")
def site(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with installation(tmp_path_factory.mktemp("site"), "--dev") as house:
        yield Site(house, house.enrol("web", tags={"Env": "Prod"}))


@dataclass
class Person:
    """Somebody with a browser of their own. What its pages complain about fails the test."""

    context: BrowserContext
    site: Site
    complaints: list[str] = field(default_factory=list)

    def page(self, path: str = "/") -> Page:
        page = self.context.new_page()
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.goto(self.site.url + path)
        return page

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type == "error" and "Failed to load resource" not in message.text:  # refusals, which pages show
            self.complaints.append(message.text)

    def administrator(self, path: str = "/nodes") -> Page:
        """A page of somebody who may do everything."""
        page = self.page(path)
        page.get_by_role("button", name="Enter").click()
        expect(page.get_by_role("button", name="root", exact=False)).to_be_visible()
        return page


@pytest.fixture
def person(browser: Browser, site: Site) -> Iterator[Person]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(20_000)
    somebody = Person(context, site)
    yield somebody
    context.close()
    assert somebody.complaints == []
