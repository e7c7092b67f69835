"""Role credentials of the node: fetched with its key, renewed at half of their life.

Also writes them to the file that scripts get as AWS_SHARED_CREDENTIALS_FILE.
"""

import asyncio
import random
import time

from pilothouse_agent import log, processes
from pilothouse_agent.link import api, keys
from pilothouse_agent.link.backoff import Backoff
from pilothouse_agent.link.https import Endpoint, Unreachable
from pilothouse_agent.link.signing import Credentials
from pilothouse_agent.settings import Settings
from pilothouse_agent.state import files
from pilothouse_agent.state.registration import Registration, StateDirectory

_REFUSALS = frozenset({"AccessDeniedException", "MachineFingerprintDoesNotMatch"})
_RETRY_CAP = 300.0  # the official agent waits up to 30 min; a node that is back sooner costs the server little


class RoleCredentials:
    """Holds the credentials that are valid now; whoever needs them waits here."""

    def __init__(
        self, endpoint: Endpoint, registration: Registration, state: StateDirectory, settings: Settings
    ) -> None:
        self._endpoint = endpoint
        self._registration = registration
        self._state = state
        self._settings = settings
        self._current: Credentials | None = None
        self._arrived = asyncio.Event()
        self._wanted = asyncio.Event()

    async def current(self) -> Credentials:
        """Wait for credentials that have not expired."""
        while True:
            if self._current is not None and self._current.expires_at > time.time():
                return self._current
            self._arrived.clear()
            self._wanted.set()
            await self._arrived.wait()

    def refuse(self, credentials: Credentials) -> None:
        """The server calls these expired (its clock counts): fetch new ones."""
        if credentials is self._current:
            self._current = None
            self._wanted.set()

    async def hold(self) -> None:
        """Keep them fresh, for as long as the agent runs."""
        backoff = Backoff(self._settings.reconnect_first, _RETRY_CAP)
        while True:
            self._wanted.clear()
            try:
                fresh = await api.role_token(
                    self._endpoint,
                    instance_id=self._registration.instance_id,
                    region=self._registration.region,
                    fingerprint=self._registration.current_fingerprint(),
                    rsa=lambda text: keys.sign(self._state.key_file, text),
                )
            except api.ApiError as error:
                pause = self._pause_after(error, backoff)
            except (Unreachable, processes.ChildFailed) as error:
                pause = backoff.next()
                log.event("credentials.unreachable", level="warning", reason=error, retry_seconds=pause)
            else:
                backoff.reset()
                pause = self._accept(fresh)
                await self._renewal_due(pause)
                continue
            await asyncio.sleep(pause)

    def _accept(self, fresh: Credentials) -> float:
        """Publish the credentials; the seconds until half of their life is over."""
        self._current = fresh
        self._wanted.clear()  # whoever waited meanwhile is served
        try:
            self._write_for_scripts(fresh)
        except OSError as error:
            log.event("credentials.not_stored", level="error", reason=error, next="scripts see the old ones, or none")
        self._arrived.set()
        left = fresh.expires_at - time.time()
        log.event("credentials.renewed", node_id=self._registration.instance_id, valid_seconds=int(left))
        return max(left / 2, 1.0)

    async def _renewal_due(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._wanted.wait()
        except TimeoutError:
            return

    def _pause_after(self, error: api.ApiError, backoff: Backoff) -> float:
        """Seconds to wait. A refusal will not change soon, so the server is spared; anything else may pass."""
        if error.code in _REFUSALS:
            pause = self._settings.refused_sleep * random.uniform(1.0, 1.2)  # noqa: S311 -- spreading load
            log.event(
                "credentials.refused", level="error", node_id=self._registration.instance_id, reason=error,
                retry_seconds=pause,
                next="the node is deregistered, blocked, or a copy of another machine; register it again with --force",
            )  # fmt: skip
            return pause
        pause = backoff.next()
        log.event("credentials.failed", level="warning", reason=error, retry_seconds=pause)
        return pause

    def _write_for_scripts(self, fresh: Credentials) -> None:
        text = (
            "[default]\n"
            f"aws_access_key_id = {fresh.access_key_id}\n"
            f"aws_secret_access_key = {fresh.secret_access_key}\n"
            f"aws_session_token = {fresh.session_token}\n"
        )
        files.write(self._state.credentials_file, text.encode(), durable=False)
