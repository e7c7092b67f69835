"""The values of SecureString parameters for those who must recognise them (`known_values`)."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pilothouse.call import House
from pilothouse.capabilities import keys
from pilothouse.capabilities.parameters.model import Value
from pilothouse.capabilities.parameters.names import below, plain_name
from pilothouse.capabilities.parameters.sealing import UNREADABLE, opened
from pilothouse.capabilities.parameters.store import ParameterStore
from pilothouse.errors import ValidationException
from pilothouse.known_values import BELOW, MOST, Wanted
from pilothouse.storage import Transaction

_BEFORE: Final = 2
"""Older versions whose values are given as well: they may still be in use after a change."""


async def give(house: House, tx: Transaction, facts: Mapping[str, Any]) -> None:
    """Give what is wanted of parameters. Nobody's permission is asked: nobody gets to see it."""
    wanted: Wanted = facts["wanted"]
    store = ParameterStore(tx, wanted.account_id, wanted.region)
    decryption = keys.Decryption(house, tx, wanted.account_id, wanted.region)
    for newest in await _named(store, wanted.of_parameters):
        value_id = f"parameter {newest.path}:{newest.number}:{newest.modified_at}"
        if newest.sealed is None or not wanted.lacks(value_id):
            continue
        try:
            versions = [newest, *await _older(store, newest)]
            sealed = [each for each in versions if each.sealed is not None]
            wanted.give(value_id, [await opened(decryption, wanted.account_id, wanted.region, each) for each in sealed])
        except UNREADABLE as error:
            wanted.cannot(value_id, type(error).__name__)


async def _named(store: ParameterStore, names: Sequence[str]) -> list[Value]:
    found = list[Value]()
    for name in names:
        if name.endswith(BELOW):
            path = name.removesuffix(BELOW).removeprefix("/")
            found += await store.values_in(below(path, recursive=True), after="", count=MOST)
            continue
        try:
            value = await store.newest_value(plain_name(name).path)
        except ValidationException:
            continue
        found += [] if value is None else [value]
    return found


async def _older(store: ParameterStore, newest: Value) -> list[Value]:
    numbers = range(newest.number - 1, max(0, newest.number - 1 - _BEFORE), -1)
    found = [await store.older_value(newest.path, newest.name, number) for number in numbers]
    return [each for each in found if each is not None]
