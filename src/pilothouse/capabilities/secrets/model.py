"""Secrets, their versions and staging labels, and the errors of the capability. No I/O."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from pilothouse.errors import ApiError, ValidationException

CURRENT: Final = "AWSCURRENT"
PREVIOUS: Final = "AWSPREVIOUS"
PENDING: Final = "AWSPENDING"
DEFAULT_KEY: Final = "alias/aws/secretsmanager"
STAGES_PER_VERSION: Final = 20
TAGS: Final = 50
DAY_MS: Final = 86_400_000

_NAME: Final = re.compile(r"[A-Za-z0-9/_+=.@!-]{1,512}")
_ARN: Final = re.compile(r"arn:[a-z-]+:secretsmanager:([a-z0-9-]*):(\d{12}):secret:(.+)", re.DOTALL)
_SUFFIXED: Final = re.compile(r"(.+)-([A-Za-z0-9]{6})", re.DOTALL)
_INVALID_NAME: Final = (
    "Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!"
)


class ResourceNotFoundException(ApiError):
    """No such secret, version or label."""

    def __init__(self, message: str = "Secrets Manager can't find the specified secret.") -> None:
        super().__init__(message)


class ResourceExistsException(ApiError):
    """The name or the token is taken."""


class InvalidRequestException(ApiError):
    """The secret's state does not allow this."""


class InvalidParameterException(ApiError):
    """A parameter's value does not fit."""


class LimitExceededException(ApiError):
    """More labels or tags than there may be."""


class InvalidNextTokenException(ApiError):
    """The token is not ours or belongs to another query."""


class MalformedPolicyDocumentException(ApiError):
    """The resource policy is none."""


class PublicPolicyException(ApiError):
    """The resource policy lets everybody in, which was not to be."""


class EncryptionFailure(ApiError):
    """The key can't be used to encrypt."""


class DecryptionFailure(ApiError):
    """The key can't be used to decrypt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """A secret without its values. Times in epoch milliseconds; `accessed_on` is the first moment of a day."""

    account_id: str
    region: str
    name: str
    suffix: str
    description: str
    key_ref: str | None
    created_at: int
    changed_at: int
    accessed_on: int | None
    purge_at: int | None
    ever_tagged: bool
    versions_made: int
    kind: str | None = None
    """The type that the service which the secret is for gave it."""
    owning_service: str | None = None
    primary_region: str | None = None
    """Where it is written, if it is replicated; of a replica another region than its own."""
    rotation: str | None = None
    """How it is rotated (`rotation_model.Rotation`), as JSON; None until a rotation was accepted."""
    rotated_at: int | None = None
    rotates_at: int | None = None
    settles_at: int | None = None
    """Until when readers of its current value wait (`settling`)."""

    @property
    def arn(self) -> str:
        """The complete ARN."""
        return arn(self.account_id, self.region, self.name, self.suffix)

    @property
    def is_replica(self) -> bool:
        """Whether it is written in another region."""
        return self.primary_region not in (None, self.region)


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One version; its value only as ciphertext."""

    version_id: str
    number: int
    is_binary: bool
    sealed: bytes = field(repr=False)
    key_ref: str | None
    created_at: int
    accessed_on: int | None

    @property
    def has_value(self) -> bool:
        """Rotation makes a version before there is a value for it."""
        return bool(self.sealed)


class Reading(NamedTuple):
    """What reading a value needs of a secret and of one version, and no more: this is the shape of the hot path."""

    account_id: str
    region: str
    name: str
    suffix: str
    key_ref: str | None
    purge_at: int | None
    settles_at: int | None
    version_id: str
    """Empty if there is no such version."""
    is_binary: int
    sealed: bytes
    created_at: int
    """Of the version, as is `accessed_on`."""
    accessed_on: int | None
    labels: str
    """Those on the version, each behind its place among them and its length."""

    def __repr__(self) -> str:
        return f"Reading({self.name!r}, version {self.version_id})"

    @property
    def arn(self) -> str:
        """The secret's complete ARN."""
        return arn(self.account_id, self.region, self.name, self.suffix)

    @property
    def has_value(self) -> bool:
        """Whether there is such a version, with a value."""
        return bool(self.sealed)

    @property
    def stages(self) -> list[str]:
        """The labels on the version."""
        found, rest = [], self.labels
        while rest:
            position, length, rest = rest.split(" ", 2)
            found.append((int(position), rest[: int(length)]))
            rest = rest[int(length) :]
        return [stage for _, stage in sorted(found)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """A secret in one more region, as its primary knows it."""

    region: str
    key_ref: str | None
    status: str
    """`InSync` or `Failed`."""
    message: str = ""


class Reference(NamedTuple):
    """What a SecretId means: a name, and the suffix if a complete ARN was given."""

    name: str
    suffix: str | None
    account_id: str


def arn(account_id: str, region: str, name: str, suffix: str) -> str:
    """`arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME-SUFFIX`"""
    return f"arn:aws:secretsmanager:{region}:{account_id}:secret:{name}-{suffix}"


def check_name(name: str) -> None:
    """Raises ValidationException."""
    if not _NAME.fullmatch(name):
        raise ValidationException(_INVALID_NAME)


def references(secret_id: str, account_id: str, region: str) -> Sequence[Reference]:
    """What a SecretId may mean, the likeliest first: a complete ARN, a name, an ARN without its suffix.

    Raises ValidationException for a name that no secret can have, ResourceNotFoundException for an ARN of elsewhere.
    """
    if not secret_id.startswith("arn:"):
        check_name(secret_id)
        return [Reference(secret_id, None, account_id)]
    match = _ARN.fullmatch(secret_id)
    if match is None or match[1] != region:
        raise ResourceNotFoundException
    complete = _SUFFIXED.fullmatch(match[3])
    if complete is not None:  # what looks complete is taken for complete, as the cloud service does
        return [Reference(complete[1], complete[2], match[2])]
    return [Reference(match[3], None, match[2])]


def after_put(stages: Mapping[str, str], version_id: str, asked: Sequence[str] | None) -> dict[str, str]:
    """Labels and the versions they sit on, in the order they were put on, after a put of a new version.

    `asked` None: the put moves AWSCURRENT. A first value becomes current whatever is asked.
    """
    moved = dict(stages)
    wanted = list(dict.fromkeys(asked or [CURRENT]))
    was_current = stages.get(CURRENT)
    if was_current is None and CURRENT not in wanted:
        wanted.append(CURRENT)
    if asked is None and was_current is not None and stages.get(PENDING) == was_current:
        del moved[PENDING]
    for stage in wanted:
        if stage == CURRENT:
            _make_current(moved, version_id, was_current)
        else:
            moved.pop(stage, None)
            moved[stage] = version_id
    return moved


def after_move(stages: Mapping[str, str], stage: str, *, take_from: str | None, give_to: str | None) -> dict[str, str]:
    """Labels after UpdateSecretVersionStage. Raises InvalidParameterException."""
    holder = stages.get(stage)
    if take_from is not None and holder != take_from:
        raise InvalidParameterException(f"Version stage {stage} not found in version {take_from}")
    if holder is not None and holder not in (take_from, give_to):
        raise InvalidParameterException(
            f"The parameter RemoveFromVersionId can't be empty. Staging label {stage} is currently attached to version "
            f"{holder}, so you must explicitly reference that version in RemoveFromVersionId."
        )
    moved = dict(stages)
    if give_to is None:
        if stage == CURRENT:
            raise InvalidParameterException(
                "You can't remove the staging label AWSCURRENT; move it to another version instead."
            )
        moved.pop(stage, None)
    elif holder != give_to:
        moved.pop(stage, None)
        if stage == CURRENT:
            _make_current(moved, give_to, holder)
        else:
            moved[stage] = give_to
    return moved


def _make_current(moved: dict[str, str], version_id: str, was_current: str | None) -> None:
    moved.pop(CURRENT, None)
    if moved.get(PREVIOUS) == version_id:
        del moved[PREVIOUS]
    if was_current is not None and was_current != version_id:
        moved.pop(PREVIOUS, None)
        moved[PREVIOUS] = was_current
    moved[CURRENT] = version_id


def check_stages(stages: Mapping[str, str]) -> None:
    """Raises LimitExceededException when a version would have more labels than it may."""
    holders = list(stages.values())
    if any(holders.count(version_id) > STAGES_PER_VERSION for version_id in set(holders)):
        raise LimitExceededException(f"A version can have at most {STAGES_PER_VERSION} staging labels.")


def labels_of(stages: Mapping[str, str], version_id: str) -> list[str]:
    """The labels on one version."""
    return [stage for stage, holder in stages.items() if holder == version_id]
