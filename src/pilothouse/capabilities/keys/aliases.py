"""CreateAlias, UpdateAlias, DeleteAlias, ListAliases."""

import re
from typing import Final

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities.keys import finding
from pilothouse.capabilities.keys.conditions import of_caller
from pilothouse.capabilities.keys.errors import (
    AlreadyExistsException,
    InvalidAliasNameException,
    LimitExceededException,
    NotAuthorizedException,
    NotFoundException,
)
from pilothouse.capabilities.keys.metadata import moment
from pilothouse.capabilities.keys.model import SERVICE_ALIASES, Key, KeyState, alias_arn
from pilothouse.capabilities.keys.paging import at_most, page, position
from pilothouse.capabilities.keys.store import Alias, KeyStore
from pilothouse.errors import ValidationException
from pilothouse.storage import Transaction

_PREFIX: Final = "alias/"
_RESERVED: Final = "alias/aws/"
_CHARACTERS: Final = re.compile(r"[a-zA-Z0-9:/_-]+")
_MOST_OF_A_KEY: Final = 50


def _alias(call: Call, request: Shape) -> list[str]:
    """The alias; its key is asked about when it is found."""
    return [f"arn:aws:kms:{call.region}:{call.account_id}:{request['AliasName']}"]


@operation("kms", "CreateAlias", writes=True, resources=_alias, conditions=of_caller)
async def create_alias(call: Call, request: Shape) -> Shape:
    """Another name for a key."""
    alias = _checked(request["AliasName"])
    async with call.transaction() as tx:
        key = await _target(call, tx, request, "kms:CreateAlias")
        store = KeyStore(tx, call.account_id, call.region)
        await store.lock_alias(alias)
        if await store.key_of(alias) is not None:
            raise AlreadyExistsException(f"An alias with the name {_arn(call, alias)} already exists")
        await _check_room(store, key)
        await store.add_alias(alias, key.key_id, at=call.clock.millis())
    return {}


@operation("kms", "UpdateAlias", writes=True, resources=_alias, conditions=of_caller)
async def update_alias(call: Call, request: Shape) -> Shape:
    """The name goes to another key, which must be of the same kind."""
    alias = _checked(request["AliasName"])
    async with call.transaction() as tx:
        store = KeyStore(tx, call.account_id, call.region)
        await store.lock_alias(alias)
        old_id = await store.key_of(alias)
        if old_id is None:
            raise NotFoundException(f"Alias {_arn(call, alias)} is not found.")
        await finding.asked(call, tx, old_id, "kms:UpdateAlias", request)
        key = await _target(call, tx, request, "kms:UpdateAlias")
        old = await store.key(old_id)
        if old is not None and (old.key_usage, _kind(old)) != (key.key_usage, _kind(key)):
            raise ValidationException(
                f"Alias {_arn(call, alias)} cannot be changed from {old.key_spec} {old.key_usage} "
                f"to {key.key_spec} {key.key_usage}."
            )
        if old_id != key.key_id:
            await _check_room(store, key)
        await store.move_alias(alias, key.key_id, at=call.clock.millis())
    return {}


@operation("kms", "DeleteAlias", writes=True, resources=_alias, conditions=of_caller)
async def delete_alias(call: Call, request: Shape) -> Shape:
    """The name goes; the key stays."""
    alias = _checked(request["AliasName"])
    async with call.transaction() as tx:
        store = KeyStore(tx, call.account_id, call.region)
        await store.lock_alias(alias)
        key_id = await store.key_of(alias)
        if key_id is None:
            raise NotFoundException(f"Alias {_arn(call, alias)} is not found.")
        await finding.asked(call, tx, key_id, "kms:DeleteAlias", request)
        await store.remove_alias(alias)
    return {}


@operation("kms", "ListAliases")
async def list_aliases(call: Call, request: Shape) -> Shape:
    """The names of one key, or of all keys of the account in the region, and those kept for services."""
    query = f"ListAliases {request.get('KeyId', '')}"
    limit = at_most(100, request.get("Limit", 50))
    after = position(call, query, request)
    async with call.reading() as tx:
        key_id = None
        if "KeyId" in request:
            key_id = (await finding.of_the_account(call, tx, request["KeyId"], "kms:ListAliases")).key_id
        store = KeyStore(tx, call.account_id, call.region)
        found = await store.aliases(key_id, after, limit + 1)
        if key_id is None:
            found = sorted([*found, *await _without_key(store, after)])
    shown = [_told(call, each) for each in found[:limit]]
    return page(call, query, {"Aliases": shown}, found[limit - 1].alias if len(found) > limit else None)


async def _target(call: Call, tx: Transaction, request: Shape, action: str) -> Key:
    key_ref = request["TargetKeyId"]
    if key_ref.rpartition(":")[2].startswith(_PREFIX):
        raise ValidationException("Aliases must refer to keys. Not aliases")
    key = await finding.locked(call, tx, key_ref, action, request)
    if key.state in (KeyState.PENDING_DELETION, KeyState.PENDING_REPLICA_DELETION):
        key.check_state()
    return key


async def _check_room(store: KeyStore, key: Key) -> None:
    if len(await store.aliases(key.key_id, "", _MOST_OF_A_KEY)) >= _MOST_OF_A_KEY:
        raise LimitExceededException(
            f"Aliases per key quota for this account in this region is {_MOST_OF_A_KEY}, "
            f"current usage is {_MOST_OF_A_KEY}."
        )


async def _without_key(store: KeyStore, after: str) -> list[Alias]:
    """The services' aliases whose key was not needed yet."""
    return [Alias(alias, "", 0, 0) for alias in SERVICE_ALIASES if alias > after and await store.key_of(alias) is None]


def _checked(alias: str) -> str:
    if not alias.startswith(_PREFIX):
        raise ValidationException(
            'Alias must start with the prefix "alias/". '
            "Please see https://docs.aws.amazon.com/kms/latest/developerguide/kms-alias.html"
        )
    if not _CHARACTERS.fullmatch(alias):
        raise ValidationException(
            f"1 validation error detected: Value '{alias}' at 'aliasName' failed to satisfy constraint: "
            "Member must satisfy regular expression pattern: ^[a-zA-Z0-9:/_-]+$"
        )
    if ":" in alias:
        raise ValidationException(f"{alias} contains invalid characters for an alias")
    if alias == _PREFIX:
        raise InvalidAliasNameException("The specified alias name is not valid.")
    if alias.startswith(_RESERVED):
        raise NotAuthorizedException
    return alias


def _kind(key: Key) -> str:
    """Symmetric, asymmetric and HMAC keys do not stand in for each other."""
    return "HMAC" if key.key_spec.startswith("HMAC") else "symmetric" if key.key_spec.startswith("SYM") else "pair"


def _arn(call: Call, alias: str) -> str:
    return alias_arn(call.account_id, call.region, alias)


def _told(call: Call, alias: Alias) -> Shape:
    if not alias.key_id:
        return {"AliasName": alias.alias, "AliasArn": _arn(call, alias.alias)}
    return {
        "AliasName": alias.alias,
        "AliasArn": _arn(call, alias.alias),
        "TargetKeyId": alias.key_id,
        "CreationDate": moment(alias.created_at),
        "LastUpdatedDate": moment(alias.updated_at or alias.created_at),
    }
