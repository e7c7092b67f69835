"""A new random password, which whoever reads the secret uses as it is: nothing else is told of it."""

import msgspec

from pilothouse.call import Call
from pilothouse.capabilities.secrets.model import Secret
from pilothouse.capabilities.secrets.rotators.credentials import new_password
from pilothouse.capabilities.secrets.rotators.rotator import Done, Value, Waiting, Work
from pilothouse.storage import Transaction


def renewed(value: Value | None, new: str) -> Value:
    """The value with another password: the member `password` of a JSON object, else all of it."""
    if value is not None and not value.is_binary:
        try:
            members = msgspec.json.decode(value.data)
        except msgspec.DecodeError:
            members = None
        if isinstance(members, dict):
            return Value(msgspec.json.encode({**members, "password": new}))
    return Value(new.encode(), is_binary=value is not None and value.is_binary)


class RandomPassword:
    """The secret is all there is."""

    remote = False
    reversible = True

    async def admit(self, call: Call, tx: Transaction, secret: Secret) -> None:
        """There is nothing beyond the secret."""

    async def create(self, work: Work) -> Value:
        return renewed(work.current, new_password(work.house.ids))

    async def take(self, work: Work) -> Done | Waiting:
        return Done("nothing to do: the secret is all there is")
