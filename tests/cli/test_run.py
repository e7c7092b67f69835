"""`pilothouse run` against a real server and real agents: whom it reaches, what it shows, how it ends."""

import json
import os
import pty
import re
import select
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.cli.run_outcome import alike
from tests.acceptance.installation import BIN, Installation, eventually, installation


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A server with the nodes web-1 and web-2 (Env Prod) and db-1 (Env Test)."""
    with installation(tmp_path_factory.mktemp("run")) as made:
        for name, env in (("web-1", "Prod"), ("web-2", "Prod"), ("db-1", "Test")):
            made.enrol(name, tags={"Env": env, "Name": name})
        yield made


def run(house: Installation, *words: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BIN / "pilothouse", "run", *words], env=house.environment() | {"COLUMNS": "120", "TERM": "dumb"},
        input=typed, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_nodes_that_say_the_same_are_shown_once(house: Installation) -> None:
    done = run(house, "--target", "tag:Env=Prod", "--", "echo hello; echo warn >&2")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "2 nodes, web-1, web-2: Success, exit code 0\nhello\nwarn\n"
    assert done.stderr.startswith("2 Success. Command ")


def test_it_ends_with_1_where_a_node_fails_and_says_which(house: Installation) -> None:
    done = run(house, "--all", "--max-errors", "100%", "--", "test -e /nowhere/at/all")
    assert done.returncode == 1
    assert "3 nodes, db-1, web-1, web-2: Failed, exit code 1" in done.stdout
    assert "3 Failed" in done.stderr


def test_words_stay_words_and_scripts_come_from_files_and_pipes(house: Installation, tmp_path: Any) -> None:
    assert "a  b\n" in run(house, "--node", "web-1", "--", "printf", "%s\n", "a  b").stdout
    script = tmp_path / "script.sh"
    script.write_text("x=from-file\necho $x\n")
    assert "from-file\n" in run(house, "--node", "web-1", "--file", str(script)).stdout
    assert "from-pipe\n" in run(house, "--node", "web-1", "-", typed="echo from-pipe\n").stdout


def test_json_holds_each_step_of_each_node(house: Installation) -> None:
    done = run(house, "--node", "db-1", "--output", "json", "--", "echo out; echo err >&2; exit 3")
    assert done.returncode == 1
    told = json.loads(done.stdout)
    (node,) = told["Nodes"]
    (step,) = node.pop("Steps")
    assert (node["InstanceName"], node["Status"], told["Status"]) == ("db-1", "Failed", "Failed")
    assert (step["ResponseCode"], step["Output"]) == (3, "out\n")
    assert step["Error"].startswith("err\n")


def test_a_plan_names_everybody_and_sends_nothing(house: Installation) -> None:
    before = house.boto("ssm").list_commands()["Commands"]
    done = run(house, "--target", "tag:Env=Prod", "--plan", "--", "reboot")
    assert done.returncode == 0, done.stderr
    rows = [re.split(r"\s{2,}", line.strip()) for line in done.stdout.splitlines() if "mi-" in line]
    assert sorted((row[1], row[4], *row[5:]) for row in rows) == [
        ("db-1", "NotTargeted", "its tag Env is Test"), ("web-1", "Runs"), ("web-2", "Runs")
    ]  # fmt: skip
    assert "would go to 2 nodes" in done.stderr
    assert house.boto("ssm").list_commands()["Commands"] == before


def test_no_wait_prints_the_id(house: Installation) -> None:
    done = run(house, "--node", "web-1", "--no-wait", "--", "true")
    command_id = done.stdout.strip()
    node = house.boto("ssm").list_command_invocations(CommandId=command_id)["CommandInvocations"][0]["InstanceId"]
    assert house.finished(command_id, node)["Status"] == "Success"


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["--", "true"], 1, "on which nodes?"),
        (["--all"], 1, "what shall be run?"),
        (["--node", "nobody", "--", "true"], 1, "no node is named nobody"),
        (["--target", "tag:Env", "--", "true"], 1, "write KEY=VALUE"),
        (["--target", "tag:Env=None", "--", "true"], 3, "No node fits."),
        (["--all", "--document", "Nothing-Such"], 1, "(InvalidDocument)"),
        (["--all", "--output", "xml", "--", "true"], 1, "use text or json"),
    ],
)
def test_what_cannot_be_is_one_sentence(house: Installation, words: list[str], code: int, sentence: str) -> None:
    done = run(house, *words)
    assert done.returncode == code
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_on_a_terminal_a_table_lives_and_leaving_leaves_the_command(house: Installation) -> None:
    master, slave = pty.openpty()
    words = [BIN / "pilothouse", "run", "--all", "--", "sleep 600"]
    running = subprocess.Popen(
        words, env=house.environment() | {"COLUMNS": "120", "LINES": "30", "TERM": "xterm"},
        stdin=slave, stdout=slave, stderr=slave, start_new_session=True, preexec_fn=_interruptible,
    )  # fmt: skip
    os.close(slave)
    try:
        seen = _until(master, "InProgress")
        assert "0 of 3 nodes" in seen
        running.send_signal(signal.SIGINT)
        seen = _until(master, "aws ssm cancel-command --command-id ")
        assert running.wait(30) == 130
    finally:
        running.kill()
        running.wait(10)
        os.close(master)
    ssm = house.boto("ssm")
    command = ssm.list_commands()["Commands"][0]
    assert command["Status"] == "InProgress"
    ssm.cancel_command(CommandId=command["CommandId"])
    eventually(lambda: ssm.list_commands(CommandId=command["CommandId"])["Commands"][0]["Status"] == "Cancelled")


def _interruptible() -> None:
    """Also where the tests themselves run in the background of a shell, which makes it deaf to Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _until(terminal: int, words: str) -> str:
    """What the terminal shows, until the words are among it."""
    seen = ""
    while words not in seen:
        assert select.select([terminal], [], [], 60)[0], f"the terminal fell silent: {seen[-500:]}"
        seen += os.read(terminal, 65536).decode("utf-8", "replace")
    return seen


_step = st.fixed_dictionaries({
    "Status": st.sampled_from(["Success", "Failed"]), "ResponseCode": st.sampled_from([0, 1]),
    "Output": st.sampled_from(["", "a", "b"]), "Error": st.sampled_from(["", "a"]),
})  # fmt: skip
_node = st.fixed_dictionaries({
    "Status": st.sampled_from(["Success", "Failed"]), "StatusDetails": st.sampled_from(["Success", "Failed"]),
    "Steps": st.lists(_step, max_size=2),
})  # fmt: skip


@given(st.lists(_node, max_size=12))
def test_groups_hold_every_node_once_and_only_what_is_alike(nodes: list[dict[str, Any]]) -> None:
    groups = alike(nodes)
    assert sorted(map(repr, (node for group in groups for node in group))) == sorted(map(repr, nodes))
    said = [{json.dumps([node["StatusDetails"], node["Steps"]], sort_keys=True) for node in group} for group in groups]
    assert all(len(each) == 1 for each in said)
    assert len(set.union(set(), *said)) == len(groups)


def test_follow_prints_lines_under_the_names_of_their_nodes(house: Installation) -> None:
    done = run(house, "--target", "tag:Env=Prod", "--follow", "--", "printf 'a\\nb'; echo oops >&2; exit 1")
    assert done.returncode == 1, done.stderr
    assert sorted(done.stdout.splitlines()) == ["web-1: a", "web-1: b", "web-2: a", "web-2: b"]
    assert "web-1: oops" in done.stderr
    assert "2 Failed" in done.stderr


def test_whole_output_is_written_byte_for_byte(house: Installation) -> None:
    done = run(house, "--node", "web-1", "--output", "json", "--", "seq 1 50000; echo err >&2")
    told = json.loads(done.stdout)

    def output(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [BIN / "pilothouse", "output", told["CommandId"], *words], env=house.environment(),
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    node = ("--node", told["Nodes"][0]["InstanceId"])
    eventually(lambda: output(*node).stdout == "".join(f"{number}\n" for number in range(1, 50_001)))
    assert output(*node, "--stderr").stdout == "err\n"
    assert "of which node?" in output().stderr
    assert "(InvocationDoesNotExist)" in output("--node", "mi-0123456789abcdef0").stderr
