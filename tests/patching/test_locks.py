"""Waiting for locks that other processes hold."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pilothouse_patching.locks import Locked, Patience, is_held
from pilothouse_patching.running import ToolFailed, run
from tests.acceptance.installation import eventually

_HOLD = """
import fcntl, sys
file = open(sys.argv[1], "a+")
fcntl.lockf(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""
Hold = Callable[[Path], "subprocess.Popen[str]"]


@pytest.fixture
def hold() -> Iterator[Hold]:
    """Let another process hold a lock, until its standard input ends."""
    made = []

    def begin(path: Path) -> "subprocess.Popen[str]":
        argv = [sys.executable, "-c", _HOLD, path]
        process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        made.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        return process

    yield begin
    for each in made:
        each.communicate()


def test_a_lock_that_is_given_back_in_time_is_waited_for(tmp_path: Path, hold: Hold) -> None:
    locks = [str(tmp_path / "not-there"), str(tmp_path / "lock")]
    process = hold(tmp_path / "lock")
    slept = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        process.communicate()

    Patience(60, sleep).wait(locks)
    assert len(slept) == 1
    assert is_held(locks) is None


def test_one_that_stays_is_named_with_who_holds_it(tmp_path: Path, hold: Hold) -> None:
    process = hold(tmp_path / "lock")
    with pytest.raises(Locked) as error:
        Patience(0).wait([str(tmp_path / "lock")])
    assert f"{tmp_path / 'lock'} is held by " in str(error.value)
    assert f"({process.pid})" in str(error.value)
    assert is_held([str(tmp_path / "lock")])  # it was only looked at


def test_a_pid_file_counts_while_its_process_lives(tmp_path: Path, hold: Hold) -> None:
    process = hold(tmp_path / "lock")
    file = tmp_path / "tool.pid"
    for content, held in ((f"{process.pid}\n", True), ("", False), ("not a number", False), ("999999999", False)):
        file.write_text(content)
        assert (is_held([str(file)]) is not None) == held, content
    file.write_text(str(process.pid))
    process.communicate()
    assert is_held([str(file)]) is None


def test_a_program_out_of_time_is_ended_and_what_it_began_is_not(tmp_path: Path) -> None:
    """It is not waited for either, though it holds the streams."""
    lines = f"(read stay < {tmp_path}/pipe; touch {tmp_path}/went-on) & echo $! > {tmp_path}/pid; wait"
    subprocess.run(["mkfifo", tmp_path / "pipe"], check=True)
    with pytest.raises(ToolFailed, match="sh did not end within 1 seconds"):
        run(["sh", "-c", lines], 1)
    pid = (tmp_path / "pid").read_text().strip()
    assert Path(f"/proc/{pid}").exists()
    (tmp_path / "pipe").write_text("go\n")
    eventually(lambda: (tmp_path / "went-on").exists(), what="what it began")
