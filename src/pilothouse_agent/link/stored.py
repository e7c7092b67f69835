"""Role credentials as children of the agent find them: in the file that the agent keeps fresh."""

import asyncio
import configparser
from pathlib import Path

from pilothouse_agent.link.https import Unreachable
from pilothouse_agent.link.signing import Credentials

_LOOK = 0.5  # seconds between looks for credentials that are not there yet


def stored_credentials(file: Path) -> Credentials:
    """Raises Unreachable if the file has none (yet)."""
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(file.read_text())
        section = parser["default"]
        return Credentials(
            access_key_id=section["aws_access_key_id"],
            secret_access_key=section["aws_secret_access_key"],
            session_token=section["aws_session_token"],
            expires_at=0.0,
        )
    except (OSError, KeyError, configparser.Error) as error:
        raise Unreachable("the node has no role credentials now") from error


class StoredCredentials:
    """For a child that calls the server for longer than credentials last."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._refused = ""

    async def current(self) -> Credentials:
        """Wait for credentials that the server has not refused."""
        while True:
            try:
                found = stored_credentials(self._file)
                if found.access_key_id != self._refused:
                    return found
            except Unreachable:
                pass  # the agent is about to write them
            await asyncio.sleep(_LOOK)

    def refuse(self, credentials: Credentials) -> None:
        """The server calls these credentials expired."""
        self._refused = credentials.access_key_id
