"""Finding the secret that a SecretId means: one of the caller's account, or one whose policy lets the caller in."""

from typing import Final

from pilothouse.call import Call
from pilothouse.capabilities.secrets.model import (
    DEFAULT_KEY,
    InvalidParameterException,
    InvalidRequestException,
    Reading,
    ResourceNotFoundException,
    Secret,
    references,
)
from pilothouse.capabilities.secrets.store import SecretStore
from pilothouse.errors import AccessDeniedException
from pilothouse.identity.authorise import context_of, tags_of
from pilothouse.identity.policy import Ask, MalformedPolicy, Verdict, parse
from pilothouse.identity.resources import place_of
from pilothouse.storage import Transaction

MARKED: Final = "You can't perform this operation on the secret because it was marked for deletion."
MARKED_ALREADY: Final = "You tried to perform the operation on a secret that's currently marked deleted."
_ON_REPLICA: Final = "Operation not permitted on a replica secret. Call must be made in primary secret's region."
_DEFAULT_KEY_ELSEWHERE: Final = (
    "You can't access a secret from a different AWS account if you encrypt the secret with the default KMS service key."
)

Found = tuple[SecretStore, Secret]
"""A secret, and the secrets of its account and region."""


async def found(call: Call, tx: Transaction, secret_id: str, action: str) -> Found:
    """The secret, also one that is marked for deletion; `action` is what a policy of another account must allow.

    Raises ResourceNotFoundException, ValidationException, AccessDeniedException.
    """
    for reference in references(secret_id, call.account_id, call.region):
        store = SecretStore(tx, reference.account_id, call.region)
        if reference.account_id != call.account_id:
            return store, await _shared(call, tx, store, secret_id, action)
        secret = await store.secret(reference.name)
        if secret is not None and reference.suffix in (None, secret.suffix):
            return store, secret
    raise ResourceNotFoundException


async def _shared(call: Call, tx: Transaction, store: SecretStore, secret_arn: str, action: str) -> Secret:
    """One of another account, by its complete ARN. It is refused alike whether it is there or not."""
    reference = references(secret_arn, call.account_id, call.region)[0]
    secret = await store.secret(reference.name)
    action = f"secretsmanager:{action}"
    if secret is not None and secret.suffix == reference.suffix:
        policy = await store.policy(secret.name)
        place = place_of(secret.arn)
        tags = {} if place is None or policy is None else await tags_of(call.house, tx, place)
        ask = Ask(
            principal_arn=call.principal.arn,
            principal_account=call.principal.account_id,
            principal_kind=call.principal.kind,
            action=action,
            resource=secret.arn,
            context={**context_of(call, {}), **tags},
            role_arn=call.principal.role_arn,
        )
        if policy is not None and verdict_of(policy, ask) is Verdict.ALLOW:
            call.house.note_use(call.request_id, call.account_id, secret.account_id, secret.arn)
            return secret
    raise AccessDeniedException(
        f"User: {call.principal.arn} is not authorized to perform: {action} on resource: {secret_arn} "
        f"because no resource-based policy allows the {action} action"
    )


def verdict_of(policy: str, ask: Ask) -> Verdict:
    """What a resource policy says."""
    try:
        return parse(policy, kind="resource").verdict(ask)
    except MalformedPolicy:  # only a server with --dev takes such texts
        return Verdict.NEUTRAL


async def usable(call: Call, tx: Transaction, secret_id: str, action: str) -> Found:
    """As `found`; raises InvalidRequestException for a secret that is marked for deletion."""
    store, secret = await found(call, tx, secret_id, action)
    if secret.purge_at is not None:
        raise InvalidRequestException(MARKED)
    return store, secret


async def locked(
    call: Call, tx: Transaction, secret_id: str, action: str, *, marked_too: bool = False, replica_too: bool = False
) -> Found:
    """The secret, kept from changing. It is looked up under the lock: it may have changed while we waited.

    Raises InvalidParameterException for a replica, which is changed where its primary is.
    """
    reference = references(secret_id, call.account_id, call.region)[0]
    if reference.account_id != call.account_id:
        await found(call, tx, secret_id, action)  # who may not have it keeps nobody waiting for it
    await SecretStore(tx, reference.account_id, call.region).lock(reference.name)
    store, secret = await (found if marked_too else usable)(call, tx, secret_id, action)
    if secret.is_replica and not replica_too:
        raise InvalidParameterException(_ON_REPLICA)
    return store, secret


def check_key(call: Call, secret: Secret | Reading) -> None:
    """Values under the default key are for the account itself. Raises InvalidRequestException."""
    if secret.account_id != call.account_id and secret.key_ref in (None, DEFAULT_KEY):
        raise InvalidRequestException(_DEFAULT_KEY_ELSEWHERE)
