"""From a KeyId of a request to the key, with what every operation asks on the way: may they, and in which state."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from pilothouse.call import Call, House, Shape
from pilothouse.capabilities.keys import conditions, materials, permissions, tokens
from pilothouse.capabilities.keys.errors import DryRunOperationException, NotFoundException
from pilothouse.capabilities.keys.granting import Grant
from pilothouse.capabilities.keys.model import (
    SERVICE_ALIASES,
    Key,
    KeyState,
    KeyUsage,
    Material,
    alias_arn,
    is_key_id,
    key_arn,
    parse_reference,
)
from pilothouse.capabilities.keys.permissions import Use
from pilothouse.capabilities.keys.store import KeyStore
from pilothouse.errors import AccessDeniedException
from pilothouse.identity.policy_patterns import Value
from pilothouse.identity.principals import Principal
from pilothouse.storage import Transaction


async def find(
    house: House, tx: Transaction, account_id: str, region: str, key_ref: str, *, writes: bool = False
) -> tuple[Key, str | None]:
    """The key, and the alias by which it was named. Nobody's permission is asked.

    In a transaction that writes (`writes`) the key of a service's alias is made when it is missing.
    Raises NotFoundException.
    """
    reference = parse_reference(key_ref, account_id, region)
    store = KeyStore(tx, reference.account_id, region)
    key_id, alias = reference.key_id, reference.alias
    if alias is not None:
        key_id = await store.key_of(alias)
        if key_id is None and writes and alias in SERVICE_ALIASES and reference.account_id == account_id:
            key_id = await _make_service_key(house, tx, reference.account_id, region, alias)
        if key_id is None:
            raise NotFoundException(f"Alias {alias_arn(reference.account_id, region, alias)} is not found.")
    key = await store.key(key_id or "")
    if key is None:
        raise NotFoundException(f"Key '{key_arn(reference.account_id, region, key_id or '')}' does not exist")
    return key, alias


async def arn_of(tx: Transaction, account_id: str, region: str, key_ref: str) -> str | None:
    """The ARN of the key that a name means, for conditions on it; None if it means none."""
    try:
        reference = parse_reference(key_ref, account_id, region)
    except NotFoundException:
        return None
    key_id = reference.key_id
    if reference.alias is not None:
        key_id = await KeyStore(tx, reference.account_id, region).key_of(reference.alias)
    return None if key_id is None else key_arn(reference.account_id, region, key_id)


async def asked(
    call: Call,
    tx: Transaction,
    key_ref: str,
    action: str,
    request: Shape,
    *,
    context: Mapping[str, str] | None = None,
    aliases: bool = False,
    more: Mapping[str, Value] | None = None,
    proposed: Grant | None = None,
) -> Key:
    """The key that a request names, if the caller may do `action` (`kms:Name`) with it.

    Operations that look after keys know them by id and ARN alone, those that use them by `aliases` as well.
    `request` and `more` are what the conditions of policies are about; `proposed` is the grant that is to be made.
    Raises NotFoundException, AccessDeniedException, InvalidGrantTokenException.
    """
    if not aliases:
        _refuse_other_names(key_ref)
    key, alias = await named(call.house, tx, call.account_id, call.region, key_ref, by=call.principal, action=action)
    check_tokens(call.house, request)
    if not permissions.is_open(key, call.principal, action):
        use = Use(
            by=call.principal,
            action=action,
            context=context or {},
            alias=alias,
            conditions={**conditions.of_request(call, request), **(more or {})},
            at=call.clock.millis(),
            proposed=proposed,
        )
        await permissions.check(call.house.vault, tx, key, use)
    call.house.note_use(call.request_id, call.account_id, key.account_id, key.arn)
    return key


async def named(
    house: House,
    tx: Transaction,
    account_id: str,
    region: str,
    key_ref: str,
    *,
    by: Principal | None,
    action: str,
    writes: bool = False,
) -> tuple[Key, str | None]:
    """As `find`, for somebody: what is missing in another account is refused as if it were there, and not for them."""
    try:
        return await find(house, tx, account_id, region, key_ref, writes=writes)
    except NotFoundException as error:
        if by is None or parse_reference(key_ref, account_id, region).account_id == by.account_id:
            raise
        raise AccessDeniedException(permissions.refused_elsewhere(by, action)) from error


def check_tokens(house: House, request: Shape) -> None:
    """Grants count without their tokens, which must be ours all the same. Raises InvalidGrantTokenException."""
    for token in request.get("GrantTokens", ()):
        tokens.read(house, token)


async def locked(
    call: Call, tx: Transaction, key_ref: str, action: str, request: Shape, *, proposed: Grant | None = None
) -> Key:
    """As `asked`, for a request that changes the key: it and its relatives stay as they are read."""
    _refuse_other_names(key_ref)
    key, _ = await named(call.house, tx, call.account_id, call.region, key_ref, by=call.principal, action=action)
    await KeyStore(tx, key.account_id, key.region).lock(key.key_id)
    return await asked(call, tx, key_ref, action, request, proposed=proposed)


async def of_the_account(call: Call, tx: Transaction, key_ref: str, action: str) -> Key:
    """A key of the caller's account by its id or ARN, where its policy is not asked."""
    _refuse_other_names(key_ref)
    if parse_reference(key_ref, call.account_id, call.region).account_id != call.account_id:
        raise AccessDeniedException(permissions.refused_elsewhere(call.principal, action))
    return (await find(call.house, tx, call.account_id, call.region, key_ref))[0]


def _refuse_other_names(key_ref: str) -> None:
    if not key_ref.startswith("arn:"):
        if not is_key_id(key_ref):
            raise NotFoundException(f"Invalid keyId {key_ref}")
    elif ":alias/" in key_ref:
        raise NotFoundException(f"Invalid arn {key_ref}")


async def usable(
    call: Call,
    tx: Transaction,
    key_ref: str,
    operation: str,
    *,
    request: Shape,
    usage: KeyUsage,
    context: Mapping[str, str] | None = None,
    more: Mapping[str, Value] | None = None,
    told_as: str | None = None,
) -> Key:
    """The key for a cryptographic operation (its wire name): there, allowed, enabled, and meant for it.

    `told_as` is the operation's name in the text of a wrong usage, where it is another.
    Raises NotFoundException, AccessDeniedException, DisabledException, KMSInvalidStateException,
    InvalidKeyUsageException.
    """
    key = await asked(call, tx, key_ref, f"kms:{operation}", request, context=context, aliases=True, more=more)
    key.check_usage(usage, told_as or operation)
    key.check_state()
    return key


def check_dry_run(asked_for: bool | None) -> None:
    """The last check of an operation. Raises DryRunOperationException."""
    if asked_for:
        raise DryRunOperationException


async def ensure_service_key(call: Call, *key_refs: str) -> None:
    """Make the key behind `alias/aws/...` if one is named and is missing; for operations that only read."""
    for key_ref in key_refs:
        alias = key_ref.rpartition(":")[2]
        if alias not in SERVICE_ALIASES:
            continue
        reference = parse_reference(key_ref, call.account_id, call.region)
        if reference.account_id != call.account_id:
            continue
        async with call.reading() as tx:
            if await KeyStore(tx, call.account_id, call.region).key_of(alias):
                continue
        async with call.house.database.transaction() as tx:
            await find(call.house, tx, call.account_id, call.region, alias, writes=True)


async def make(house: House, tx: Transaction, key: Key, plaintext: bytes | None = None) -> Key:
    """Write a new key, with its first material unless that is to be imported; the key as it is kept.

    Material that takes long to make is handed in: nothing waits for it inside a transaction.
    """
    store = KeyStore(tx, key.account_id, key.region)
    if key.state is KeyState.PENDING_IMPORT:
        await store.add(key)
        return key
    made = replace(key, material_version=1)
    await store.add(made)
    if plaintext is None:
        plaintext = await materials.generate(house, key.key_spec, key.key_usage)
    await materials.put(house, tx, made, plaintext, Material(version=1, created_at=key.created_at))
    return made


async def _make_service_key(house: House, tx: Transaction, account_id: str, region: str, alias: str) -> str:
    store = KeyStore(tx, account_id, region)
    await store.lock_alias(alias)
    if made_meanwhile := await store.key_of(alias):
        return made_meanwhile
    now = house.clock.millis()
    key = Key(
        account_id=account_id,
        region=region,
        key_id=house.ids.uuid(),
        state=KeyState.ENABLED,
        manager="AWS",
        description=SERVICE_ALIASES[alias],
        material_version=0,
        created_at=now,
        rotation_days=365,
        next_rotation_at=now + 365 * 86_400_000,
    )
    await make(house, tx, key)
    await store.add_alias(alias, key.key_id, at=now)
    return key.key_id


def relatives(keys: Sequence[Key], key: Key) -> list[Key]:
    """The other regions' keys of a multi-region key."""
    return [each for each in keys if each.region != key.region]
