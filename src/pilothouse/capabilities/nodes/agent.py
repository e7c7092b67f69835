"""What agents ask for: to become a node, credentials for it, and to say what they are.

Who an agent is comes from its signature, never from the body. Its account and region are those of its record: an agent
may sign with other regions than it registered with. The official agent reads several answers without looking whether a
member is there: those members are always sent.
"""

from datetime import timedelta
from typing import Final

import structlog

from pilothouse.call import Call, Caller, Shape, operation
from pilothouse.capabilities import tags
from pilothouse.capabilities.nodes.model import (
    RESOURCE_TYPE,
    Activation,
    ActivationExpired,
    InvalidActivation,
    MachineFingerprintDoesNotMatch,
    PublicKeyAlreadyRegistered,
    RegistrationLimitExceeded,
    ResourceNotFoundException,
    WrongCodes,
    checked_information,
    checked_public_key,
    code_fits,
    public_key_hash,
)
from pilothouse.capabilities.nodes.registry import registered
from pilothouse.capabilities.nodes.store import ActivationStore, NodeStore
from pilothouse.errors import AccessDeniedException, ApiError
from pilothouse.identity.session_tokens import mint_for_node
from pilothouse.runtime.clock import from_millis
from pilothouse.runtime.metrics import REGISTRATION_REFUSALS
from pilothouse.storage import Transaction

log = structlog.get_logger()

_wrong_codes: Final = WrongCodes()
_refusals: Final = WrongCodes()
"""Refused registrations of each activation that were recorded; of an empty id those of unknown ones, logged."""

_INFORMATION: Final = {
    "AgentName": "agent_name",
    "AgentVersion": "agent_version",
    "AgentStatus": "agent_status",
    "PlatformType": "platform_type",
    "PlatformName": "platform_name",
    "PlatformVersion": "platform_version",
    "IPAddress": "ip_address",
    "ComputerName": "computer_name",
    "AvailabilityZone": "availability_zone",
    "AvailabilityZoneId": "availability_zone_id",
    "SSMConnectionChannel": "connection_channel",
}


@operation("ssm", "RegisterManagedInstance", writes=True, callers=Caller.ANYONE)
async def register_managed_instance(call: Call, request: Shape) -> Shape:
    """Make the machine a node of the activation's account and region, with a new id each time.

    Order of checks: id and code, expiry, limit, key; a registration is used up only together with the node's record.
    """
    now = call.clock.millis()
    async with call.transaction() as tx:
        try:
            node_id = await _registered_anew(call, tx, request, now)
        except ApiError as error:
            _note_refusal(call, request, error, now)
            raise
    return {"InstanceId": node_id}


async def _registered_anew(call: Call, tx: Transaction, request: Shape, now: int) -> str:
    activation = await _proven_activation(call, tx, request, now)
    if activation.expired(now):
        raise ActivationExpired(f"The activation {activation.activation_id} has expired.")
    if activation.registrations_count >= activation.registration_limit:
        raise _limit_exceeded(activation)
    key = checked_public_key(request["PublicKey"])
    if not await ActivationStore(tx).take_registration(activation.activation_id):
        raise _limit_exceeded(activation)
    store = NodeStore(tx)
    node_id = call.ids.node_id()
    while await store.id_is_taken(node_id):
        node_id = call.ids.node_id()
    await store.add(
        activation,
        node_id=node_id,
        public_key=key,
        public_key_hash=public_key_hash(key),
        fingerprint=request["Fingerprint"],
        now=now,
    )
    where = {"account_id": activation.account_id, "region": activation.region}
    await tags.put(tx, activation.account_id, activation.region, RESOURCE_TYPE, node_id, activation.tags)
    await call.house.tell(tx, "node.registered", node_id=node_id, **where)
    return node_id


def _note_refusal(call: Call, request: Shape, error: ApiError, now: int) -> None:
    """Count it. Those of a known activation are recorded in its account, so many within an hour: a stranger who knows
    its id must not fill the trail. Of the others, which nobody's trail holds, so many are logged."""
    REGISTRATION_REFUSALS.labels(error.code).inc()
    about = request["ActivationId"] if call.account_id else ""
    if _refusals.blocked(about, now):
        call.account_id = ""
        return
    _refusals.add(about, now)
    if not about:
        log.warning("registration.refused", code=error.code, source_ip=call.source_ip, request_id=call.request_id)


@operation("ssm", "RequestManagedInstanceRoleToken", callers=Caller.NODE, audited=True, free=True)
async def request_managed_instance_role_token(call: Call, request: Shape) -> Shape:
    """Credentials of the node's role, for a request that the node's own key signed.

    Another fingerprint means another machine (a copied disk), and is refused. All five members are always there.
    """
    node_id = _signed_with_own_key(call)
    async with call.reading() as tx:
        node = await registered(tx, node_id)
    if node.fingerprint != request["Fingerprint"]:
        raise MachineFingerprintDoesNotMatch(
            f"The fingerprint is not the one that {node_id} registered with. Register this machine anew."
        )
    life = timedelta(seconds=call.house.settings.nodes.token_seconds)
    expires_at = (call.clock.millis() + life // timedelta(milliseconds=1)) // 1000 * 1000
    minted = mint_for_node(
        call.house,
        account_id=node.account_id,
        region=node.region,
        arn=node.principal.arn,
        user_id=node.principal.user_id,
        node_id=node.node_id,
        expires_at=expires_at,
    )
    return {
        "AccessKeyId": minted.access_key_id,
        "SecretAccessKey": minted.secret,
        "SessionToken": minted.token,
        "TokenExpirationDate": from_millis(expires_at),
        "UpdateKeyPair": False,
    }


@operation("ssm", "UpdateManagedInstancePublicKey", writes=True, callers=Caller.NODE, free=True)
async def update_managed_instance_public_key(call: Call, request: Shape) -> Shape:
    """Put a new key in the place of the node's; the old one signs this request and is worth nothing after it."""
    key = checked_public_key(request["NewPublicKey"])
    key_hash = public_key_hash(key)
    async with call.transaction() as tx:
        node = await registered(tx, _signed_with_own_key(call))
        await tx.lock("node public key", key_hash)
        store = NodeStore(tx)
        if await store.holder_of_key(key_hash, other_than=node.node_id) is not None:
            raise PublicKeyAlreadyRegistered("The public key belongs to another managed node.")
        await store.set_public_key(node.node_id, key, key_hash)
    return {}


def _node(call: Call, request: Shape) -> list[str]:
    return [f"arn:aws:ssm:{call.region}:{call.account_id}:managed-instance/{request['InstanceId']}"]


@operation(
    "ssm",
    "UpdateInstanceInformation",
    writes=True,
    callers=Caller.NODE,
    node_member="InstanceId",
    resources=_node,
)
async def update_instance_information(call: Call, request: Shape) -> Shape:
    """A ping. What the node tells is stored; what it leaves out or leaves empty stays as it was."""
    told = checked_information({column: request.get(member) for member, column in _INFORMATION.items()})
    async with call.transaction() as tx:
        node_id = _node_id(call)
        if not await NodeStore(tx).set_information(node_id, told, call.clock.millis()):
            await registered(tx, node_id)
    return {}


@operation("ssm", "GetManifest", callers=Caller.NODE)
async def get_manifest(call: Call, request: Shape) -> Shape:
    """There are no packages but documents: the agent turns to those on this error, and crashes on an empty answer."""
    raise ResourceNotFoundException(f"There is no package {request['PackageName']}.")


@operation("ssm", "PutConfigurePackageResult", callers=Caller.NODE)
async def put_configure_package_result(call: Call, request: Shape) -> Shape:
    """How an installation of a package went. The same stands in the command's output, so nothing is kept."""
    return {}


async def _proven_activation(call: Call, tx: Transaction, request: Shape, now: int) -> Activation:
    """The activation whose id and code the request names; the call becomes a matter of its account.

    Raises InvalidActivation, the same for each cause.
    """
    activation_id, code = request.get("ActivationId"), request.get("ActivationCode")
    refused = InvalidActivation("The activation id and code do not fit together, or the activation was deleted.")
    if activation_id is None or code is None:  # cloud machines leave them out; there is no way in for those
        raise refused
    if _wrong_codes.blocked(activation_id, now):
        raise refused
    activation = await ActivationStore(tx).find(activation_id)
    if activation is None:
        code_fits(code, b"")
        raise refused
    call.account_id, call.region = activation.account_id, activation.region  # whose trail it is recorded in
    if not code_fits(code, activation.code_hash):
        _wrong_codes.add(activation_id, now)
        raise refused
    return activation


def _limit_exceeded(activation: Activation) -> RegistrationLimitExceeded:
    return RegistrationLimitExceeded(
        f"The activation {activation.activation_id} has registered {activation.registration_limit} managed nodes,"
        " as many as it may."
    )


def _node_id(call: Call) -> str:
    if call.principal.node_id is None:
        raise AccessDeniedException("Only managed nodes may do this.")
    return call.principal.node_id


def _signed_with_own_key(call: Call) -> str:
    """The node that signed with its own key. Role credentials do not do: who copied them could renew them forever."""
    node_id = _node_id(call)
    if call.principal.access_key_id != node_id:
        raise AccessDeniedException(f"The request must be signed with the key of the managed node {node_id}.")
    return node_id
