"""`pilothouse sessions`: what a real session left is listed, shown, played, searched; one that goes on is ended."""

import json
import os
import pwd
from collections.abc import Iterator

import pytest

from tests.acceptance.installation import Installation, eventually, installation

SCRIPT = "printf 'a needle in hay\\nnothing more\\n'"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with pytest.MonkeyPatch.context() as patch, installation(tmp_path_factory.mktemp("sessions")) as made:
        patch.setenv("PILOTHOUSE_AGENT_SESSION_USER", pwd.getpwuid(os.geteuid()).pw_name)
        made.enrol("web-1")
        yield made


def own(house: Installation, *words: str) -> str:
    done = house.own("sessions", *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_was_recorded_is_found_by_the_command(house: Installation) -> None:
    assert "There are no such sessions." in own(house, "list")
    done = house.own("exec", "web-1", "--reason", "a \x1b[31mreason", "--", "sh", "-c", SCRIPT)
    assert (done.returncode, done.stdout) == (0, "a needle in hay\nnothing more\n"), done.stderr
    (listed,) = json.loads(own(house, "list", "--history", "--output", "json"))
    session_id = listed["SessionId"]
    assert (listed["Status"], listed["Target"]) == ("Terminated", house.agents[0].node_id)
    assert listed["Owner"].startswith("arn:aws:iam::")
    text = own(house, "list", "--history")
    assert session_id in text
    assert "\x1b" not in text
    assert "There are no such sessions." in own(house, "list", "--history", "--node", "mi-00000000000000000")

    shown = json.loads(own(house, "show", session_id))
    assert shown["Recording"]["Recorded"] is True
    assert own(house, "recording", session_id, "--text") == "a needle in hay\nnothing more\n"
    head, *events = (json.loads(line) for line in own(house, "recording", session_id).splitlines())
    assert head["version"] == 2
    assert "".join(data for _, kind, data in events if kind == "o").count("needle") == 1

    assert own(house, "search", "NEEDLE in").startswith(f"{session_id}  ")
    (found,) = json.loads(own(house, "search", "needle", "--output", "json"))
    assert (found["SessionId"], found["Line"]) == (session_id, "a needle in hay")
    assert json.loads(own(house, "search", "no such text", "--output", "json")) == []


def test_a_session_is_ended_and_what_is_none_is_told(house: Installation) -> None:
    session_id = house.boto("ssm").start_session(Target=house.agents[0].node_id)["SessionId"]
    assert own(house, "terminate", session_id) == ""
    eventually(lambda: session_id in own(house, "list", "--history"), what="the end of the session")
    for command, why in (("show", "there is no session none-0"), ("recording", "session does not exist")):
        done = house.own("sessions", command, "none-0123456789abcdef0")
        assert done.returncode == 1
        assert why in done.stderr
    assert "--output xml: use text or json" in house.own("sessions", "list", "--output", "xml").stderr
