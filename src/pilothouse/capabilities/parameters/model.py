"""Parameters and their versions, and the errors of the capability. No I/O."""

from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from pilothouse.errors import ApiError

Kind = Literal["String", "StringList", "SecureString"]
Tier = Literal["Standard", "Advanced"]

SECURE: Final = "SecureString"

EXPIRATION: Final = "Expiration"
EXPIRES_SOON: Final = "ExpirationNotification"
NO_CHANGE: Final = "NoChangeNotification"

PENDING: Final = "Pending"
IN_PROGRESS: Final = "InProgress"
FINISHED: Final = "Finished"
FAILED: Final = "Failed"


class ParameterNotFound(ApiError):
    """No such parameter."""

    @classmethod
    def named(cls, asked: str) -> "ParameterNotFound":
        """The error for a name as it was asked for."""
        return cls(f"Parameter {asked} not found.")


class ParameterVersionNotFound(ApiError):
    """The parameter has no such version or label."""


class ParameterAlreadyExists(ApiError):
    """The name is taken and the request does not overwrite."""


class ParameterPatternMismatchException(ApiError):
    """The value does not match the parameter's AllowedPattern."""


class InvalidAllowedPatternException(ApiError):
    """The AllowedPattern is not a regular expression that can be held to."""


class HierarchyLevelLimitExceededException(ApiError):
    """The name has more levels than a hierarchy may have."""


class HierarchyTypeMismatchException(ApiError):
    """An overwrite would change the parameter's type."""


class ParameterMaxVersionLimitExceeded(ApiError):
    """The oldest version must go for a new one, and may not because it has a label."""


class ParameterVersionLabelLimitExceeded(ApiError):
    """More labels than a version may have."""


class ParameterLimitExceeded(ApiError):
    """As many parameters of the tier as there may be."""


class TooManyUpdates(ApiError):
    """Too many updates of one parameter wait already."""


class InvalidKeyId(ApiError):
    """The KMS key is missing or may not be used; the text is KMS's."""


class PoliciesLimitExceededException(ApiError):
    """More policies than a parameter may have."""


class InvalidPolicyTypeException(ApiError):
    """No policy has this type."""


class InvalidPolicyAttributeException(ApiError):
    """A policy is malformed."""


class IncompatiblePolicyException(ApiError):
    """The policies contradict each other."""


class InvalidNextToken(ApiError):
    """The token is not ours or belongs to another query."""

    def __init__(self, message: str = "The specified token is not valid.") -> None:
        super().__init__(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """One entry of a parameter's Policies: its own JSON text, type, and how far it is carried out."""

    text: str
    kind: str
    status: str = PENDING


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One version of a parameter with everything that describes it.

    `value` is the text of a String or StringList, `sealed` the ciphertext blob of a SecureString. Lists of metadata
    leave both out.
    """

    path: str
    name: str
    number: int
    kind: str
    key_ref: str | None
    data_type: str
    tier: str
    description: str | None
    allowed_pattern: str | None
    policies: tuple[Policy, ...]
    modified_at: int
    modified_by: str
    value: str | None = field(default=None, repr=False)
    sealed: bytes | None = field(default=None, repr=False)


class Value(NamedTuple):
    """What reading a version's value needs, and no more: this is the shape of the hot path."""

    path: str
    name: str
    number: int
    kind: str
    value: str | None
    sealed: bytes | None
    key_ref: str | None
    data_type: str
    modified_at: int

    def __repr__(self) -> str:
        return f"Value({self.name!r}, version {self.number})"
