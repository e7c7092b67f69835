"""CreateGrant, ListGrants, ListRetirableGrants, RetireGrant, RevokeGrant."""

import re
from dataclasses import replace
from typing import Final

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities.keys import conditions, finding, tokens
from pilothouse.capabilities.keys.errors import (
    InvalidArnException,
    InvalidGrantIdException,
    LimitExceededException,
    NotFoundException,
)
from pilothouse.capabilities.keys.granting import Grant
from pilothouse.capabilities.keys.metadata import moment
from pilothouse.capabilities.keys.model import Key, KeyUsage
from pilothouse.capabilities.keys.paging import at_most, page, position
from pilothouse.capabilities.keys.permissions import Use, account_of, is_denied, is_principal, refused_elsewhere
from pilothouse.capabilities.keys.store import GrantStore, KeyStore
from pilothouse.errors import AccessDeniedException, ValidationException
from pilothouse.storage import Transaction

_PRINCIPAL: Final = re.compile(
    r"arn:aws[a-z-]*:(?:iam::\d{12}:(?:root|(?:user|role)/[^*]+)|sts::\d{12}:(?:assumed-role|federated-user)/[^*]+)"
    r"|\d{12}|[a-z0-9.-]+\.amazonaws\.com(?:\.cn)?"
)
_MOST_OF_A_KEY: Final = 50_000
_MOST_PAIRS: Final = 8
_LONGEST_VALUE: Final = 384
_ALWAYS: Final = frozenset({"CreateGrant", "RetireGrant", "DescribeKey"})
_SYMMETRIC: Final = frozenset(
    {
        "Decrypt",
        "Encrypt",
        "GenerateDataKey",
        "GenerateDataKeyWithoutPlaintext",
        "GenerateDataKeyPair",
        "GenerateDataKeyPairWithoutPlaintext",
        "ReEncryptFrom",
        "ReEncryptTo",
    }
)
_OPERATIONS: Final = {
    KeyUsage.ENCRYPT_DECRYPT: frozenset({"Decrypt", "Encrypt", "ReEncryptFrom", "ReEncryptTo", "GetPublicKey"}),
    KeyUsage.SIGN_VERIFY: frozenset({"Sign", "Verify", "GetPublicKey"}),
    KeyUsage.GENERATE_VERIFY_MAC: frozenset({"GenerateMac", "VerifyMac"}),
    KeyUsage.KEY_AGREEMENT: frozenset({"DeriveSharedSecret", "GetPublicKey"}),
    KeyUsage.ENCAPSULATE_DECAPSULATE: frozenset({"Encapsulate", "Decapsulate", "GetPublicKey"}),
}
"""What grants on asymmetric and HMAC keys can let be done, by usage."""


@operation("kms", "CreateGrant", asks_itself=True, writes=True)
async def create_grant(call: Call, request: Shape) -> Shape:
    """Let a principal do some things with a key. The same grant under the same name is not made twice."""
    grantee, retiring = _principal(request, "Grantee"), _principal(request, "Retiring")
    if not grantee:
        raise ValidationException("GranteePrincipal is required.")
    _check_constraints(request)
    async with call.transaction() as tx:
        asked = _proposed(call, request, grantee, retiring)
        key = await finding.locked(call, tx, request["KeyId"], "kms:CreateGrant", request, proposed=asked)
        key.check_state()
        _check_operations(key, asked)
        grant = replace(asked, account_id=key.account_id, region=key.region, key_id=key.key_id)
        finding.check_dry_run(request.get("DryRun"))
        grant = await _added(GrantStore(tx, key.account_id, key.region), key, grant)
    return {"GrantId": grant.grant_id, "GrantToken": tokens.make(call.house, grant)}


@operation("kms", "ListGrants", asks_itself=True)
async def list_grants(call: Call, request: Shape) -> Shape:
    """The grants on a key: all, one, or those of one grantee."""
    query = f"ListGrants {request['KeyId']}"
    limit, after = at_most(100, request.get("Limit", 50)), position(call, query, request)
    grantee, wanted = _principal(request, "Grantee") or None, request.get("GrantId")
    async with call.reading() as tx:
        key = await finding.asked(call, tx, request["KeyId"], "kms:ListGrants", request)
        store = GrantStore(tx, key.account_id, key.region)
        if wanted is None:
            return _page(call, query, await store.of(key.key_id, after, limit + 1, grantee), limit)
        grant = await store.grant(key.key_id, wanted)
    if grant is None:
        raise InvalidGrantIdException(f"Grant ID {wanted} not found")
    return _page(call, query, [grant] if grantee in (None, grant.grantee) else [], limit)


@operation("kms", "ListRetirableGrants")
async def list_retirable_grants(call: Call, request: Shape) -> Shape:
    """The grants that a principal may retire."""
    principal = _principal(request, "Retiring")
    if not principal:
        raise ValidationException("RetiringPrincipal is required.")
    if account_of(principal) != call.account_id:
        raise AccessDeniedException(
            f"User: {call.principal.arn} is not authorized to perform: kms:ListRetirableGrants on resource: "
            f"{principal} because no resource-based policy allows the kms:ListRetirableGrants action"
        )
    query = f"ListRetirableGrants {principal}"
    limit, after = at_most(100, request.get("Limit", 50)), position(call, query, request)
    async with call.reading() as tx:
        found = await GrantStore(tx, call.account_id, call.region).retirable(principal, after, limit + 1)
    return _page(call, query, found, limit)


@operation("kms", "RetireGrant", asks_itself=True, writes=True)
async def retire_grant(call: Call, request: Shape) -> Shape:
    """The grant ends: asked by its retiring principal, its account, or a grantee whom it lets.

    No policy is needed for it, nor enough; one that denies it holds.
    """
    by_id = "KeyId" in request and "GrantId" in request
    if ("GrantToken" in request) is by_id or (("KeyId" in request) is not ("GrantId" in request)):
        raise ValidationException("Either a GrantToken or both a KeyId and a GrantId must be given.")
    async with call.transaction() as tx:
        if by_id:
            grant = await _named(call, tx, request["KeyId"], request["GrantId"])
        else:
            grant = await _of_token(call, tx, request["GrantToken"])
        lets = is_principal(grant.grantee, call.principal) and grant.fits_retiring()
        of_account = call.principal.kind == "root" and call.account_id == grant.account_id
        retires = lets or of_account or is_principal(grant.retiring, call.principal)
        if not retires or await _retiring_denied(call, tx, grant, request):
            if by_id and grant.account_id != call.account_id:
                raise AccessDeniedException(refused_elsewhere(call.principal, "kms:RetireGrant"))
            raise AccessDeniedException(
                f"User: {call.principal.arn} is not authorized to perform: kms:RetireGrant "
                f"on resource: arn:aws:kms:{grant.region}:{grant.account_id}:key/{grant.key_id}"
            )
        finding.check_dry_run(request.get("DryRun"))
        await GrantStore(tx, grant.account_id, grant.region).remove(grant.key_id, grant.grant_id)
    return {}


async def _retiring_denied(call: Call, tx: Transaction, grant: Grant, request: Shape) -> bool:
    key = await KeyStore(tx, grant.account_id, grant.region).key(grant.key_id)
    if key is None:
        return False
    use = Use(
        by=call.principal, action="kms:RetireGrant", context=grant.context_equals or grant.context_subset or {},
        conditions=conditions.of_request(call, request), at=call.clock.millis(),
    )  # fmt: skip
    return await is_denied(tx, key, use)


@operation("kms", "RevokeGrant", asks_itself=True, writes=True)
async def revoke_grant(call: Call, request: Shape) -> Shape:
    """The grant ends at once."""
    async with call.transaction() as tx:
        key = await finding.locked(call, tx, request["KeyId"], "kms:RevokeGrant", request)
        store = GrantStore(tx, key.account_id, key.region)
        if await store.grant(key.key_id, request["GrantId"]) is None:
            raise NotFoundException(f"Grant ID {request['GrantId']} not found")
        finding.check_dry_run(request.get("DryRun"))
        await store.remove(key.key_id, request["GrantId"])
    return {}


async def _added(store: GrantStore, key: Key, grant: Grant) -> Grant:
    if grant.name:
        for each in await store.named(key.key_id, grant.name):
            if each.same_as(grant):
                return each
    if await store.count(key.key_id) >= _MOST_OF_A_KEY:
        raise LimitExceededException(f"Key {key.arn} has {_MOST_OF_A_KEY} grants, which is the most a key may have.")
    await store.add(grant)
    return grant


def _principal(request: Shape, role: str) -> str:
    """The grantee or retiring principal of a request, or nothing. Raises InvalidArnException, ValidationException."""
    principal, service = request.get(f"{role}Principal", ""), request.get(f"{role}ServicePrincipal", "")
    if principal and service:
        raise ValidationException(f"{role}Principal and {role}ServicePrincipal cannot both be specified.")
    if principal and not _PRINCIPAL.fullmatch(principal):
        raise InvalidArnException(f"Invalid arn {principal}" if principal.startswith("arn:") else "Invalid ARN")
    return str(principal or service)


def _check_constraints(request: Shape) -> None:
    constraints = request.get("Constraints", {})
    contexts = [
        constraints[name] for name in ("EncryptionContextEquals", "EncryptionContextSubset") if name in constraints
    ]
    if len(contexts) > 1:
        raise ValidationException("More than one constraint supplied")
    for context in contexts:
        if len(context) > _MOST_PAIRS or any(len(value) > _LONGEST_VALUE for value in context.values()):
            raise ValidationException(
                f"A grant constraint has at most {_MOST_PAIRS} encryption context pairs with values of at most "
                f"{_LONGEST_VALUE} characters."
            )
    if "GranteeServicePrincipal" in request and not (
        "SourceArn" in constraints and ("RetiringPrincipal" in request or "RetiringServicePrincipal" in request)
    ):
        raise ValidationException("GranteeServicePrincipal needs a SourceArn constraint and a retiring principal.")


def _proposed(call: Call, request: Shape, grantee: str, retiring: str) -> Grant:
    """The grant that is asked for, as yet of no key."""
    constraints = request.get("Constraints", {})
    return Grant(
        account_id="",
        region="",
        key_id="",
        grant_id=call.ids.random_bytes(32).hex(),
        name=request.get("Name", ""),
        grantee=grantee,
        retiring=retiring,
        issuing_account=f"arn:aws:iam::{call.account_id}:root",
        operations=tuple(dict.fromkeys(request["Operations"])),
        context_equals=constraints.get("EncryptionContextEquals"),
        context_subset=constraints.get("EncryptionContextSubset"),
        source_arn=constraints.get("SourceArn"),
        created_at=call.clock.millis(),
    )


def _check_operations(key: Key, grant: Grant) -> None:
    symmetric = key.algorithms == ("SYMMETRIC_DEFAULT",)
    fitting = _ALWAYS | (_SYMMETRIC if symmetric else _OPERATIONS[key.key_usage])
    for each in grant.operations:
        if each not in fitting:
            raise ValidationException(f"Operation {each} is not valid for key {key.arn} with KeyUsage {key.key_usage}.")
    if set(grant.operations) == {"CreateGrant"}:
        raise ValidationException("Grants must not contain only the CreateGrant operation.")
    if not symmetric and (grant.context_equals or grant.context_subset):
        raise ValidationException(
            f"Encryption context constraints are not supported for key {key.arn} with KeyUsage {key.key_usage}."
        )


async def _named(call: Call, tx: Transaction, key_ref: str, grant_id: str) -> Grant:
    key, _ = await finding.named(
        call.house, tx, call.account_id, call.region, key_ref, by=call.principal, action="kms:RetireGrant"
    )
    grant = await GrantStore(tx, key.account_id, key.region).grant(key.key_id, grant_id)
    if grant is None:
        if key.account_id != call.account_id:
            raise AccessDeniedException(refused_elsewhere(call.principal, "kms:RetireGrant"))
        raise NotFoundException(f"Grant ID {grant_id} not found")
    await KeyStore(tx, key.account_id, key.region).lock(key.key_id)
    return grant


async def _of_token(call: Call, tx: Transaction, token: str) -> Grant:
    named = tokens.read(call.house, token)
    grant = await GrantStore(tx, named.account_id, named.region).grant(named.key_id, named.grant_id)
    if grant is None:
        raise NotFoundException(f"Grant ID {named.grant_id} not found")
    return grant


def _page(call: Call, query: str, found: list[Grant], limit: int) -> Shape:
    last = found[limit - 1].grant_id if len(found) > limit else None
    return page(call, query, {"Grants": [_told(each) for each in found[:limit]]}, last)


def _told(grant: Grant) -> Shape:
    constraints = {
        "EncryptionContextEquals": grant.context_equals,
        "EncryptionContextSubset": grant.context_subset,
        "SourceArn": grant.source_arn,
    }
    constraints = {name: value for name, value in constraints.items() if value is not None}
    told: Shape = {
        "KeyId": f"arn:aws:kms:{grant.region}:{grant.account_id}:key/{grant.key_id}",
        "GrantId": grant.grant_id,
        "Name": grant.name,
        "CreationDate": moment(grant.created_at),
        "GranteePrincipal": grant.grantee,
        "IssuingAccount": grant.issuing_account,
        "Operations": list(grant.operations),
    }
    if _is_service(grant.grantee):
        told["GranteeServicePrincipal"] = grant.grantee
    if grant.retiring:
        told["RetiringServicePrincipal" if _is_service(grant.retiring) else "RetiringPrincipal"] = grant.retiring
    return told | ({"Constraints": constraints} if constraints else {})


def _is_service(principal: str) -> bool:
    return not principal.startswith("arn:") and "." in principal
