"""Settings of `pilothouse-agent run`: one frozen tree, read once at start from the environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields


class InvalidSetting(Exception):
    """An environment variable holds something that is no value of the setting."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Each field is PILOTHOUSE_AGENT_<FIELD> in the environment. Times are seconds."""

    running: int = 5  # commands that run at once, as in the official agent
    buffered: int = 5  # commands that wait for one of them to end; beyond that the server is told "full"
    ping_interval: float = 54.0  # control channel ping
    pong_timeout: float = 60.0  # silence after a ping that ends the connection
    health_interval: float = 300.0  # UpdateInstanceInformation; the server's online rule waits 330 s
    association_first: float = 15.0  # the list of associations is fetched within so long after the start
    association_interval: float = 600.0  # and again from time to time; the server also says when it changes
    reconnect_first: float = 2.5  # upper end of the first random wait after a loss
    reconnect_cap: float = 60.0  # upper end of every later one
    refused_sleep: float = 1500.0  # after AccessDenied on the role token; up to a fifth more
    reply_retry: float = 30.0  # an unacknowledged reply is sent again
    reply_keep: float = 7200.0  # then it is dropped: the server has given up on it
    output_keep: float = 14 * 86400.0  # whole outputs of finished commands
    output_patience: float = 30.0  # how long a step's reply waits for its whole output to be sent, at least
    output_retry: float = 60.0  # between tries to send whole outputs that could not be sent at once
    output_limit: int = 256 * 1024 * 1024  # bytes kept of each stream of a step
    download_limit: int = 4 * 1024 * 1024 * 1024  # bytes that one aws:downloadContent or package may bring
    github_url: str = "https://api.github.com"  # the API that sourceType GitHub asks
    update_patience: float = 120.0  # an updated agent must have reached the server by then, else the old one returns
    kill_grace: float = 3.0  # between SIGTERM and SIGKILL at cancel and timeout
    sessions: int = 100  # sessions at once
    session_user: str = "ssm-user"  # whose they are when the agent is root and the document says nothing; see docs
    session_patience: float = 600.0  # a session whose server cannot be reached for so long ends
    session_linger: float = 30.0  # after a program's end: how long a client may make no progress at taking its output
    allow_reboot: bool = False  # whether a script's exit 194 may reboot this machine

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        """Raises InvalidSetting naming the variable."""
        given: dict[str, int | float | bool | str] = {}
        for field in fields(cls):
            name = f"PILOTHOUSE_AGENT_{field.name.upper()}"
            text = environment.get(name)
            if text is None:
                continue
            try:
                given[field.name] = _parse(text, type(field.default))
            except ValueError as error:
                raise InvalidSetting(f"{name} is {text!r}; it must be a {type(field.default).__name__}") from error
        return cls(**given)  # type: ignore[arg-type]


def _parse(text: str, kind: type) -> int | float | bool | str:
    if kind is str:
        return text
    if kind is bool:
        if text.lower() not in ("true", "false", "1", "0"):
            raise ValueError(text)
        return text.lower() in ("true", "1")
    value = int(text) if kind is int else float(text)
    if not 0 <= value < 1e12:
        raise ValueError(text)
    return value
