"""Terminals in the browser, with a scripted gateway at the other end of their connections."""

import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from playwright.sync_api import Page, Route, WebSocketRoute, expect

from tests.console.conftest import Person, Site


@dataclass
class Gateway:
    """Starts and resumes sessions, and echoes what is typed in them."""

    started: list[dict[str, Any]] = field(default_factory=list)
    resumed: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    said: list[dict[str, Any]] = field(default_factory=list)
    typed: bytes = b""
    prompt: bytes = b"prompt$ "
    lines: list[WebSocketRoute] = field(default_factory=list)
    urls: list[str] = field(default_factory=list)

    def stand_in(self, page: Page, site: Site) -> None:
        page.route(f"{site.house.url}/", self._call)
        page.route_web_socket("**/ph/v1/**", self._connect)

    def _call(self, route: Route) -> None:
        name = route.request.headers.get("x-amz-target", "").partition(".")[2]
        asked = json.loads(route.request.post_data or "{}")
        if name == "StartSession":
            self.started.append(asked)
            return self._ticket(route, f"root-{len(self.started)}", f"token-{len(self.started)}")
        if name == "ResumeSession":
            self.resumed.append(asked["SessionId"])
            return self._ticket(route, asked["SessionId"], "token-again")
        if name == "TerminateSession":
            self.ended.append(asked["SessionId"])
            return route.fulfill(content_type="application/x-amz-json-1.1", body=json.dumps(asked))
        return route.continue_()

    def _ticket(self, route: Route, session_id: str, token: str) -> None:
        answer = {"SessionId": session_id, "TokenValue": token, "StreamUrl": "wss://elsewhere.example/"}
        route.fulfill(content_type="application/x-amz-json-1.1", body=json.dumps(answer))

    def _connect(self, line: WebSocketRoute) -> None:
        self.lines.append(line)
        self.urls.append(line.url)
        line.on_message(lambda message: self._heard(line, message))

    def opened(self, line: WebSocketRoute, shown: bytes) -> None:
        line.send(json.dumps({"type": "opened", "mode": "drive", "sessionId": "", "replay": len(shown)}))
        line.send(shown)
        line.send(json.dumps({"type": "state", "status": "connected"}))

    def _heard(self, line: WebSocketRoute, message: str | bytes) -> None:
        if isinstance(message, str):
            self.said.append(json.loads(message))
            if self.said[-1]["type"] == "open":
                self.opened(line, self.prompt)
            return
        self.typed += message
        line.send(message.replace(b"\r", b"\r\nprompt$ "))


@pytest.fixture
def gateway() -> Gateway:
    return Gateway()


@pytest.fixture
def terminal(person: Person, site: Site, gateway: Gateway) -> Page:
    """A page with a terminal on the node."""
    page = person.administrator(f"/nodes/{site.node.node_id}")
    gateway.stand_in(page, site)
    page.get_by_role("button", name="Connect").click()
    expect(screen(page)).to_contain_text("prompt$")
    return page


def screen(page: Page) -> Any:
    return page.locator(".xterm-rows")


def test_what_is_typed_goes_to_the_node_and_its_answer_is_shown(terminal: Page, site: Site, gateway: Gateway) -> None:
    assert gateway.started == [{"Target": site.node.node_id}]
    first = gateway.said[0]
    assert (first["type"], first["sessionId"], first["token"]) == ("open", "root-1", "token-1")
    assert gateway.urls == [f"ws://127.0.0.1:{site.house.http}/ph/v1/sessions/terminal"]
    terminal.keyboard.type("echo ä | cat")
    terminal.keyboard.press("Enter")
    expect(screen(terminal)).to_contain_text("echo ä | cat")
    assert gateway.typed == "echo ä | cat\r".encode()
    before = gateway.said[-1]
    terminal.set_viewport_size({"width": 900, "height": 700})
    terminal.wait_for_function("() => document.querySelector('.xterm-rows').children.length < 40")
    expect(screen(terminal)).to_contain_text("prompt$")
    assert gateway.said[-1]["type"] == "size"
    assert gateway.said[-1]["cols"] < before["cols"]


def test_the_keyboard_alone_leaves_a_terminal_and_opens_another(terminal: Page, gateway: Gateway) -> None:
    terminal.keyboard.press("Tab")
    terminal.keyboard.press("Control+Shift+ArrowUp")
    expect(terminal.get_by_role("button", name="Connected web")).to_be_focused()
    assert gateway.typed == b"\t"
    terminal.get_by_role("button", name="Open another terminal").focus()
    terminal.keyboard.press("Enter")
    expect(terminal.get_by_role("dialog")).to_be_visible()
    terminal.keyboard.press("Tab")
    terminal.keyboard.press("Enter")
    terminal.get_by_role("option", name="web").wait_for()
    terminal.keyboard.press("ArrowDown")
    terminal.keyboard.press("Enter")
    terminal.get_by_label("Reason").fill("ticket 42")
    terminal.keyboard.press("Enter")
    expect(terminal.get_by_role("button", name="Close the terminal")).to_have_count(2)
    expect(screen(terminal)).to_contain_text("prompt$")
    assert gateway.started[1]["Reason"] == "ticket 42"
    terminal.keyboard.type("second")
    expect(screen(terminal)).to_contain_text("prompt$ second")
    terminal.get_by_role("button", name="Connected web").first.click()
    expect(screen(terminal)).not_to_contain_text("second")


def test_other_pages_and_a_reload_leave_a_terminal_open_and_closing_it_ends_its_session(
    terminal: Page, gateway: Gateway
) -> None:
    terminal.keyboard.type("one")
    terminal.get_by_role("button", name="Open navigation").click()
    terminal.get_by_role("link", name="Commands", exact=True).click()
    expect(terminal.get_by_role("heading", name="Commands", level=1)).to_be_visible()
    terminal.get_by_role("link", name="Terminals").click()
    expect(screen(terminal)).to_contain_text("prompt$ one")
    assert len(gateway.lines) == 1
    terminal.reload()
    expect(screen(terminal)).to_contain_text("prompt$")
    assert gateway.resumed == ["root-1"]
    assert not gateway.ended
    terminal.get_by_role("button", name="Close the terminal on web").click()
    terminal.get_by_role("button", name="End it").click()
    expect(terminal.get_by_text("No terminal is open")).to_be_visible()
    assert gateway.ended == ["root-1"]


def test_a_connection_that_is_lost_is_made_again_and_an_end_is_told(terminal: Page, gateway: Gateway) -> None:
    gateway.prompt = b"shown before\x1b[c\r\nprompt$ "
    gateway.lines[0].close(code=1011)
    expect(screen(terminal)).to_contain_text("shown before")
    assert gateway.resumed == ["root-1"]
    terminal.keyboard.type("x")
    expect(screen(terminal)).to_contain_text("prompt$ x")
    assert gateway.typed == b"x"  # and no answer to the question in what was shown before
    gateway.lines[-1].send(json.dumps({"type": "exit", "reason": "the shell ended"}))
    expect(terminal.get_by_text("Ended: the shell ended")).to_be_visible()
    terminal.get_by_role("button", name="Close the terminal on web").click()
    expect(terminal.get_by_text("No terminal is open")).to_be_visible()
    assert not gateway.ended


def test_what_a_node_sends_moves_nothing_but_its_screen(terminal: Page, gateway: Gateway) -> None:
    title = terminal.title()
    gateway.lines[0].send(
        b"\x1b]0;taken over\x07\x1b]52;c;dGFrZW4gb3Zlcg==\x07"
        b"\x1b]8;;javascript:document.title='taken'\x07link\x1b]8;;\x07"
        b"<img src=x onerror=\"document.title='taken'\">end"
    )
    expect(screen(terminal)).to_contain_text("<img src=x")
    terminal.get_by_text("link", exact=False).last.click(force=True)
    assert terminal.title() == title
    assert terminal.locator(".xterm img").count() == 0
