"""Where settings come from, and what is said when they are wrong."""

from pathlib import Path

import pytest

from pilothouse.runtime.listening import client_url, read_listening, split_address, write_listening
from pilothouse.runtime.settings import LimitSettings, SettingsInvalid, load


def test_defaults(tmp_path: Path) -> None:
    settings = load(tmp_path, environment={})
    assert settings.http == "127.0.0.1:7700"
    assert settings.database_url.endswith("/pilothouse.db")


def test_an_option_beats_the_environment_and_that_the_file(tmp_path: Path) -> None:
    (tmp_path / "pilothouse.toml").write_text(
        'http = "127.0.0.1:1"\nregion = "a"\nhttps = "h:1"\n[nodes]\ntoken_seconds = 5\n'
    )
    settings = load(
        tmp_path,
        environment={"PILOTHOUSE_HTTP": "127.0.0.1:2", "PILOTHOUSE_REGION": "b"},
        http="127.0.0.1:3",
        region=None,
    )
    assert (settings.http, settings.region, settings.https, settings.nodes.token_seconds) == (
        "127.0.0.1:3",
        "b",
        "h:1",
        5,
    )


def test_capability_settings_have_variables(tmp_path: Path) -> None:
    settings = load(tmp_path, environment={"PILOTHOUSE_COMMANDS_HISTORY_DAYS": "7", "PILOTHOUSE_NAMES": "a, b"})
    assert settings.commands.history_days == 7
    assert settings.names == ("a", "b")


def test_limits_take_parts_of_seconds(tmp_path: Path) -> None:
    (tmp_path / "pilothouse.toml").write_text("[limits]\nhead_seconds = 2.5\nbody_seconds = 9\n")
    limits = load(tmp_path, environment={"PILOTHOUSE_LIMITS_STALL_SECONDS": "0.5"}).limits
    assert (limits.head_seconds, limits.body_seconds, limits.stall_seconds, limits.idle_seconds) == (2.5, 9, 0.5, 75)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[limits]\nhead_seconds = 0", "head_seconds"),
        ("[limits]\nconnections = -1", "connections"),
        ('[limits]\nbody_seconds = "9"', "number"),
        ("[limits]\nbody_seconds = nan", "number"),
        ("htpp = 1", "htpp"),
        ("http = 1", "http"),
        ("[nodes]\nx = 1", "'x'"),
        ("a = [", "pilothouse.toml"),
    ],
)
def test_mistakes_in_the_file_are_named(tmp_path: Path, text: str, named: str) -> None:
    (tmp_path / "pilothouse.toml").write_text(text)
    with pytest.raises(SettingsInvalid, match=named):
        load(tmp_path, environment={})


def test_mistakes_in_the_environment_are_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid, match="PILOTHOUSE_NODES_TOKEN_SECONDS"):
        load(tmp_path, environment={"PILOTHOUSE_NODES_TOKEN_SECONDS": "soon"})
    with pytest.raises(SettingsInvalid, match="PILOTHOUSE_DEV"):
        load(tmp_path, environment={"PILOTHOUSE_DEV": "maybe"})
    with pytest.raises(SettingsInvalid, match="PILOTHOUSE_LIMITS_HEAD_SECONDS"):
        load(tmp_path, environment={"PILOTHOUSE_LIMITS_HEAD_SECONDS": "inf"})


def test_addresses() -> None:
    assert split_address("[::1]:70") == ("::1", 70)
    assert client_url("https", "0.0.0.0:7743") == "https://127.0.0.1:7743"
    assert client_url("http", "[::]:1") == "http://[::1]:1"
    with pytest.raises(ValueError, match="HOST:PORT"):
        split_address("7700")


def test_listening_is_remembered(tmp_path: Path) -> None:
    assert read_listening(tmp_path) is None
    write_listening(tmp_path, "127.0.0.1:1", "0.0.0.0:2")
    assert read_listening(tmp_path) == {"http": "127.0.0.1:1", "https": "0.0.0.0:2"}


def test_roles_and_workers(tmp_path: Path) -> None:
    found = load(tmp_path, environment={"PILOTHOUSE_ROLES": "api, scheduler", "PILOTHOUSE_WORKERS": "3"})
    assert (found.roles, found.workers) == (("api", "scheduler"), 3)
    (tmp_path / "pilothouse.toml").write_text('roles = ["gateway"]\nworkers = 2\n')
    found = load(tmp_path, environment={})
    assert (found.roles, found.workers) == (("gateway",), 2)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('roles = ["apis"]', "no role is named 'apis'; there are api, gateway, scheduler"),
        ("roles = []", "roles must name at least one"),
        ('roles = "api"', "roles must be a list of texts"),
        ("workers = 0", "workers must be from 1 to 64"),
        ("workers = 65", "workers must be from 1 to 64"),
    ],
)
def test_roles_and_workers_that_cannot_be(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "pilothouse.toml").write_text(text)
    with pytest.raises(SettingsInvalid, match=says):
        load(tmp_path, environment={})


def test_workers_divide_what_protects_the_machine_and_not_what_shares_out_a_process() -> None:
    each = LimitSettings(connections=10, failures_per_minute=0).of_each(4)
    assert (each.connections, each.failures_per_minute, each.body_mib) == (3, 0, 64)
    assert (each.in_flight, each.handshakes, each.head_seconds) == (128, 128, 10)
