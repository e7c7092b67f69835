"""Whoever is cancelled or out of time ends without going on: no shell sees its child end and runs its next line."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse_agent.plugins import supervisor


@given(st.dictionaries(st.integers(2, 60), st.integers(1, 60), max_size=20))
def test_parents_stand_before_their_children(drawn: dict[int, int]) -> None:
    parents = {pid: min(parent, pid - 1) for pid, parent in drawn.items()}  # no circles, as among processes
    order = supervisor.parents_first(parents)
    assert sorted(order) == sorted(parents)
    place = {pid: at for at, pid in enumerate(order)}
    assert all(place[parents[pid]] < at for pid, at in place.items() if parents[pid] in place)


def test_processes_in_a_circle_are_all_named() -> None:
    """Ids that were given anew while they were read."""
    assert sorted(supervisor.parents_first({5: 6, 6: 5, 7: 7})) == [5, 6, 7]


def test_a_tree_of_shells_is_asked_from_its_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def send(pid: int, number: signal.Signals) -> None:
        asked.append(pid)
        os.kill(pid, number)

    monkeypatch.setattr(supervisor, "_send", send)
    went_on = tmp_path / "went-on"
    for turn in range(6):  # process ids come in ever other orders
        mark = f"{tmp_path}/{turn}"
        script = f"(sleep 600; echo inner >> {went_on}); echo outer >> {went_on}"
        shell = subprocess.Popen(
            ["sh", "-c", script], start_new_session=True, env=os.environ | {supervisor.RUN_MARK: mark}
        )
        while len(children := _tree(shell.pid)) < 3:
            time.sleep(0.01)
        asked.clear()
        assert not supervisor.end_all(mark, shell.pid, 3.0)
        assert shell.wait() == -signal.SIGTERM
        assert asked == children
    assert not went_on.exists()


def _tree(pid: int) -> list[int]:
    """A process and those below it, each of which has one child at most."""
    try:
        below = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        below = []
    return [pid, *(_tree(int(below[0])) if below else [])]
