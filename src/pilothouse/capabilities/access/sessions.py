"""Sessions of roles: what they have in common, whoever lets one take the role on."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from pilothouse.call import Call, Shape
from pilothouse.capabilities.access.model import Role
from pilothouse.capabilities.access.pages import checked_policy
from pilothouse.capabilities.access.policy_store import PolicyStore
from pilothouse.capabilities.access.role_store import RoleStore
from pilothouse.errors import ValidationException
from pilothouse.identity.credentials import Session
from pilothouse.identity.permissions import Source
from pilothouse.identity.session_tokens import TemporaryCredentials, mint_for_role
from pilothouse.runtime.clock import from_millis
from pilothouse.storage import Transaction

HOUR: Final = 3600
REGION_OF_UNSIGNED: Final = "us-east-1"
"""Where what is unsigned is recorded, as by the cloud service."""
_CHARACTERS: Final = 2048
_MOST_ARNS: Final = 10
_NOTHING: Final = '{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "none:None", "Resource": "*"}}'


def refuse_not_yet(request: Shape, members: Iterable[str]) -> None:
    """Raises ValidationException for a member that nothing here heeds."""
    for member in members:
        if request.get(member):
            raise ValidationException(f"{member} is not available in this version of Pilothouse.")


def ends_at(call: Call, seconds: int) -> int:
    """The end of a session made now, in epoch milliseconds, on a whole second."""
    return (call.clock.millis() // 1000 + seconds) * 1000


def told_credentials(minted: TemporaryCredentials, expires_at: int) -> Shape:
    """The member of an answer that holds them."""
    return {
        "AccessKeyId": minted.access_key_id,
        "SecretAccessKey": minted.secret,
        "SessionToken": minted.token,
        "Expiration": from_millis(expires_at),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Narrowing:
    """The session policies of a request."""

    policy: str
    """Empty: none."""
    arns: tuple[str, ...]

    @property
    def packed(self) -> Shape:
        """The member of the answer that says how much room they take, in percent."""
        characters = len(self.policy) + sum(map(len, self.arns))
        return {"PackedPolicySize": max(1, min(100, characters * 100 // _CHARACTERS))} if characters else {}


def narrowing_of(request: Shape) -> Narrowing:
    """Raises ValidationException, MalformedPolicyDocumentException."""
    policy: str = request.get("Policy", "")
    if policy:
        if len(policy) > _CHARACTERS:
            raise ValidationException(f"A session policy has at most {_CHARACTERS} characters.")
        checked_policy(policy, "identity")
    arns = tuple(dict.fromkeys(each["arn"] for each in request.get("PolicyArns") or () if "arn" in each))
    if len(arns) > _MOST_ARNS:
        raise ValidationException(f"A session has at most {_MOST_ARNS} managed session policies.")
    return Narrowing(policy=policy, arns=arns)


async def check_arns(tx: Transaction, role: Role, narrowing: Narrowing) -> None:
    """Raises ValidationException for a policy that is not there in the account of the role."""
    for arn in narrowing.arns:
        if await PolicyStore(tx, role.account_id).find(arn) is None:
            raise ValidationException(f"Policy {arn} does not exist or is not attachable.")


async def session_policies(tx: Transaction, account_id: str, session: Session) -> list[Source]:
    """What narrows the session, as it says now; a policy that is gone lets nothing through."""
    sources = []
    if session.policy:
        sources.append(Source(kind="session", name="session policy", document=session.policy))
    store = PolicyStore(tx, account_id)
    for arn in session.policy_arns:
        policy = await store.find(arn)
        document = _NOTHING
        if policy is not None:
            default = policy.default_version
            document = next(text for number, text, _ in await store.versions(policy) if number == default)
        sources.append(Source(kind="session", name=arn.rpartition("/")[2], document=document, arn=arn))
    return sources


async def role_by_arn(tx: Transaction, arn: str) -> Role | None:
    """The role of any account."""
    parts = arn.split(":", 5)
    if len(parts) < 6 or parts[:4] != ["arn", "aws", "iam", ""] or not parts[5].startswith("role/"):
        return None
    found = await RoleStore(tx, parts[4]).find(arn.rpartition("/")[2])
    return found if found is not None and found.arn == arn else None


def begin(call: Call, request: Shape, role: Role, session: Session, narrowing: Narrowing) -> Shape:
    """The answer with the credentials of a session that may begin. Raises ValidationException for its length."""
    seconds = request.get("DurationSeconds", min(HOUR, role.max_session))
    if seconds > role.max_session:
        raise ValidationException("The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
    if call.principal.kind == "session" and seconds > HOUR:
        raise ValidationException(
            "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining."
        )
    name = request["RoleSessionName"]
    arn = f"arn:aws:sts::{role.account_id}:assumed-role/{role.name}/{name}"
    user_id = f"{role.role_id}:{name}"
    expires_at = ends_at(call, seconds)
    minted = mint_for_role(
        call.house, account_id=role.account_id, arn=arn, user_id=user_id, session=session, expires_at=expires_at
    )
    answer: Shape = {
        "Credentials": told_credentials(minted, expires_at),
        "AssumedRoleUser": {"AssumedRoleId": user_id, "Arn": arn},
    }
    if session.source_identity:
        answer["SourceIdentity"] = session.source_identity
    return answer | narrowing.packed
