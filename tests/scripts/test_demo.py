"""`make demo` as a newcomer meets it: it plays, ends cleanly, plays again on its data, says what is in the way."""

import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
DEMO = [sys.executable, ROOT / "scripts" / "demo.py"]


def two_free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


class Play:
    """One run of the demo on given ports."""

    def __init__(self, data: Path, http: int, https: int) -> None:
        self.http, self.https = http, https
        self.process = subprocess.Popen(
            [*DEMO, "--data", data, "--http", f"127.0.0.1:{self.http}", "--https", f"127.0.0.1:{self.https}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def until_it_runs(self) -> str:
        """What it showed up to its last line."""
        assert self.process.stdout is not None
        shown = ""
        for line in self.process.stdout:
            shown += line
            if line.startswith("Running."):
                return shown
        raise AssertionError(f"the demo ended: {shown}{self.process.communicate()[1]}")

    def end(self, number: signal.Signals = signal.SIGINT) -> int:
        self.process.send_signal(number)
        self.process.communicate(timeout=60)
        return self.process.returncode

    def listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.http)) == 0


@pytest.fixture
def play(tmp_path: Path):
    plays: list[Play] = []
    ports = two_free_ports()

    def start() -> Play:
        plays.append(Play(tmp_path / "data", *ports))
        return plays[-1]

    yield start
    for each in plays:
        if each.process.poll() is None:
            each.end(signal.SIGTERM)


def test_it_runs_a_command_ends_cleanly_and_uses_its_data_again(play, tmp_path):
    first = play()
    shown = first.until_it_runs()
    assert "open sesame" in shown
    assert re.search(r"mi-[0-9a-f]{17}  Success\n    Linux ", shown)
    assert first.listens()
    assert first.end() == 0
    assert not first.listens()
    assert [path.name for path in tmp_path.iterdir()] == ["data"]

    second = play()
    again = second.until_it_runs()
    node = re.search(r"mi-[0-9a-f]{17}", shown)
    assert node
    assert f"node {node[0]} again" in again
    assert "version 2" in again
    assert second.end(signal.SIGTERM) == 0


@pytest.mark.parametrize("in_the_way", ["port", "directory", "address"])
def test_what_is_in_the_way_is_said_in_one_sentence(in_the_way, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        http, data, says = "127.0.0.1:1", tmp_path / "data", ""
        if in_the_way == "port":
            http, says = f"127.0.0.1:{taken.getsockname()[1]}", "Address already in use"
        elif in_the_way == "directory":
            (tmp_path / "file").touch()
            data, says = tmp_path / "file" / "data", "cannot write to the data directory"
        else:
            http, says = "nowhere", "is not HOST:PORT"
        done = subprocess.run([*DEMO, "--data", data, "--http", http], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert says in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
