"""What is on disk, and what is removed from it."""

import json
import os
import uuid
from pathlib import Path

from pilothouse_agent.documents.plan import Plan, Step
from pilothouse_agent.state import files
from pilothouse_agent.state.commands import Commands, Job, command_id_of
from pilothouse_agent.state.registration import Registration, StateDirectory, machine_digest

DAY = 86_400.0


def job(command_id: str) -> Job:
    return Job(
        command_id=command_id, job_id=f"aws.ssm.{command_id}.mi-1", channel="mgs", document_name="", bucket="",
        key_prefix="", accepted_at=0,
    )  # fmt: skip


def test_old_finished_commands_are_removed_and_others_stay(tmp_path: Path) -> None:
    commands = Commands(tmp_path / "commands", tmp_path / "cancels")
    plan = Plan(schema="2.2", steps=[Step(key="a", plugin="p", runs=[{}])])
    finished, open_, half = (str(uuid.uuid4()) for _ in range(3))
    for command_id in (finished, open_):
        commands.directory(command_id).create(job(command_id), plan)
    commands.directory(finished).mark_finished()
    files.make_private(commands.directory(half).downloads)  # the agent ended before it was accepted
    assert not commands.cancel_seen("11111111-1111")

    now = os.stat(tmp_path).st_mtime
    assert commands.prune(14 * DAY, now + 13 * DAY) == 0
    assert commands.cancel_seen("11111111-1111")
    assert commands.prune(14 * DAY, now + 15 * DAY) == 2
    assert [directory.root.name for directory in commands.unfinished()] == [open_]
    assert not commands.accepted(finished)
    assert not commands.cancel_seen("11111111-1111")


def test_files_are_private_and_whole(tmp_path: Path) -> None:
    directory = files.make_private(tmp_path / "a" / "b")
    files.write_json(directory / "value", {"k": "v"})
    assert (directory.stat().st_mode & 0o777, (directory / "value").stat().st_mode & 0o777) == (0o700, 0o600)
    (directory / "value.new").write_text("left over by a crash, and longer than what comes now")
    files.write(directory / "value", b"2")
    assert files.read_json(directory / "value") == 2
    assert files.read_json(directory / "missing") is None
    (directory / "value").write_text('{"cut sh')
    assert files.read_json(directory / "value") is None


def test_a_copied_disk_shows_another_fingerprint(tmp_path: Path) -> None:
    registration = Registration(
        instance_id="mi-1", region="r", url="https://h:1", fingerprint=str(uuid.uuid4()), machine="another machine"
    )
    StateDirectory(tmp_path).register(registration, b"key", None)
    stored = StateDirectory(tmp_path).registration()
    assert stored == registration
    shown = stored.current_fingerprint()
    assert (shown == stored.fingerprint) == (not machine_digest())
    assert shown == stored.current_fingerprint()
    assert json.loads((tmp_path / "registration.json").read_text())["fingerprint"] == registration.fingerprint


def test_ids_that_become_directory_names() -> None:
    assert command_id_of("aws.ssm.7416d49d-943b-4d1b-9e8c-73f77ff842ee.mi-1") == "7416d49d-943b-4d1b-9e8c-73f77ff842ee"
    for odd in ("", "a", "aws.ssm...mi-1", "aws.ssm.../../etc/x.mi-1", "aws.ssm.a b c d e f.mi-1", f"a.{'x' * 65}.b"):
        assert command_id_of(odd) is None
