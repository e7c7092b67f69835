"""What rotators of databases have in common, whatever the server: one user whose password changes, two that take turns,
and how a new credential is tried.
"""

from abc import abstractmethod
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any

from pilothouse.call import Call, House
from pilothouse.capabilities.secrets.model import Secret
from pilothouse.capabilities.secrets.rotation_model import Step
from pilothouse.capabilities.secrets.rotators.credentials import (
    Credential,
    credential,
    master_of,
    new_password,
    other_user,
)
from pilothouse.capabilities.secrets.rotators.rotator import Done, StepFailed, Value, Waiting, Work
from pilothouse.storage import Transaction


class Refused(StepFailed):
    """The server does not let this user in with this password."""


class DatabaseUser:
    """A user of one kind of server, who gets a new password. Every failure is a StepFailed."""

    remote = False
    reversible = True
    engines: Mapping[str, int]
    """The names that the engine of a secret may have, with their usual ports."""

    async def admit(self, call: Call, tx: Transaction, secret: Secret) -> None:
        """The secret itself says all."""

    async def create(self, work: Work) -> Value:
        return credential(work.current, self.engines).with_password(new_password(work.house.ids))

    async def take(self, work: Work) -> Done | Waiting:
        pending = credential(work.pending, self.engines)
        if work.step is Step.SET:
            if not await self.can_log_in(work.house, pending) or await self._takes_any_password(work.house, pending):
                return await self.give(work, pending)
            # done before, by somebody who was killed then
            return Done(f"{pending.username} has the new password already", tried=logged_in(pending))
        if not await self.can_log_in(work.house, pending):
            raise StepFailed(f"the server refused the login of {pending.username} with the new password")
        return Done(logged_in(pending))

    async def _takes_any_password(self, house: House, who: Credential) -> bool:
        """Whether the server asks this host for no password, as one that trusts its own machine: a login says nothing
        then of what others will meet."""
        return await self.can_log_in(house, replace(who, password=new_password(house.ids)))

    async def can_log_in(self, house: House, who: Credential) -> bool:
        """Whether the server lets the user in. Raises StepFailed when nobody can tell."""
        try:
            async with self.login(house, who):
                return True
        except Refused:
            return False

    @abstractmethod
    def login(self, house: House, who: Credential) -> AbstractAsyncContextManager[Any]:
        """A connection as the user. Raises StepFailed, Refused."""

    @abstractmethod
    async def give(self, work: Work, pending: Credential) -> Done:
        """Have the new password log in."""


class OneUser(DatabaseUser):
    """The user of the secret logs in with what it has, and changes."""

    async def give(self, work: Work, pending: Credential) -> Done:
        for value in (work.current, work.previous):
            if value is None:
                continue
            old = credential(value, self.engines)
            if (old.username, old.host) != (pending.username, pending.host):
                continue
            try:
                return await self.change(work, pending, old)
            except Refused:
                continue
        raise StepFailed(f"the server refused the login of {pending.username} with each password that is known")

    @abstractmethod
    async def change(self, work: Work, pending: Credential, old: Credential) -> Done:
        """Have the password changed of a user who logs in with the old one. Raises Refused if that one does not."""


class TwoUsers(DatabaseUser):
    """The other of two users gets the new password, from the user of `masterarn`. The current one stays good."""

    longest_name: int

    async def create(self, work: Work) -> Value:
        current = credential(work.current, self.engines)
        other = other_user(current.username, self.longest_name)
        return current.with_password(new_password(work.house.ids), username=other)

    async def give(self, work: Work, pending: Credential) -> Done:
        current = credential(work.current, self.engines)
        master = master_of(work, current, self.engines)
        if not await self.can_log_in(work.house, current):
            raise StepFailed(f"the server refused the login of {current.username} with the current password")
        if await self.give_other(work.house, master, current, pending):
            text = f"{master.username} made {pending.username} on {pending.host}, with the rights of {current.username}"
            return Done(text)
        return Done(f"{master.username} gave {pending.username} a new password on {pending.host}")

    @abstractmethod
    async def give_other(self, house: House, master: Credential, current: Credential, pending: Credential) -> bool:
        """Give the other user its password; True where the user had to be made for it."""


def logged_in(who: Credential) -> str:
    """What the log says of a new credential that works."""
    return f"{who.username} logged in to {who.host} with the new password"
