"""A shell on a real node, in the browser: typed in, come back to, watched, joined, played and searched."""

import pytest
from playwright.sync_api import Page, expect

from tests.acceptance.installation import eventually
from tests.console.conftest import Person, Site

pytest.importorskip("pilothouse.capabilities.sessions.operations", reason="the server has no sessions yet")
pytest.importorskip("pilothouse_agent.sessions", reason="the agent has no sessions yet")

DOCUMENT = "SSM-SessionManagerRunShell"


def screen(page: Page):
    return page.locator(".xterm-rows")


def test_a_shell_is_worked_in_come_back_to_joined_and_played(person: Person, site: Site) -> None:
    page = person.administrator(f"/nodes/{site.node.node_id}")
    page.get_by_role("button", name="Connect").click()
    expect(screen(page)).to_contain_text("$")
    page.keyboard.type("echo $((6*7)) '<b>bold</b>'; stty size")
    page.keyboard.press("Enter")
    expect(screen(page)).to_contain_text("42 <b>bold</b>")
    page.reload()
    expect(screen(page)).to_contain_text("42 <b>bold</b>")
    expect(page.locator(".terminals-foot")).to_contain_text("Connected")

    other = person.page("/sessions")
    session = other.get_by_role("link", name="root-")
    session_id = session.inner_text()
    session.click()
    expect(screen(other)).to_contain_text("42 <b>bold</b>")
    page.bring_to_front()
    page.locator(".xterm-helper-textarea").focus()
    page.keyboard.type("echo $((10*10))")
    page.keyboard.press("Enter")
    expect(screen(other)).to_contain_text("100")
    other.bring_to_front()
    other.get_by_role("button", name="Join").click()
    expect(other.locator(".terminals-foot")).to_contain_text("Connected")
    expect(screen(other)).to_contain_text("100")
    other.keyboard.type("exit")
    other.keyboard.press("Enter")
    expect(page.locator(".terminals-foot")).to_contain_text("Ended")
    expect(other.locator(".terminals-foot")).to_contain_text("Ended")

    ssm = site.house.boto("ssm")
    ended = {"State": "History", "Filters": [{"key": "SessionId", "value": session_id}]}
    eventually(lambda: ssm.describe_sessions(**ended)["Sessions"], what="the end of the session")
    page.goto(f"{site.url}/session-search?text=bold")
    found = page.get_by_role("row").filter(has_text="42 <b>bold</b>")
    found.get_by_role("link", name=session_id).click()
    expect(page.get_by_role("region", name="Recording")).to_contain_text("42 <b>bold</b>")
    assert page.locator("main b", has_text="bold").count() == 0


def test_preferences_are_those_of_new_sessions(person: Person, site: Site) -> None:
    page = person.administrator("/session-preferences")
    idle = page.get_by_label("Idle for at most")
    idle.fill("61")
    expect(page.get_by_text("1 to 60 minutes")).to_be_visible()
    expect(page.get_by_role("button", name="Save")).to_be_disabled()
    ssm = site.house.boto("ssm")
    for minutes in ("30", "45"):  # the account's first document, then a version of it
        idle.fill(minutes)
        page.get_by_role("button", name="Save").click()
        wanted = f'"idleSessionTimeout": "{minutes}"'
        eventually(lambda wanted=wanted: wanted in ssm.get_document(Name=DOCUMENT)["Content"], what=wanted)
        expect(page.get_by_role("button", name="Discard")).to_be_disabled()
    expect(page.get_by_text("The preferences are saved").first).to_be_visible()
