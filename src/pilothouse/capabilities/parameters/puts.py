"""What a put makes of a request and the version before it. No I/O."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from pilothouse.capabilities.parameters.model import (
    SECURE,
    HierarchyTypeMismatchException,
    ParameterAlreadyExists,
    ParameterMaxVersionLimitExceeded,
    Policy,
    Version,
)
from pilothouse.capabilities.parameters.names import Name
from pilothouse.capabilities.parameters.policies import inherited
from pilothouse.capabilities.parameters.values import (
    ADVANCED_BYTES,
    check_data_type,
    check_pattern,
    check_storable,
    check_text,
    choose_tier,
)
from pilothouse.errors import ValidationException

DEFAULT_KEY = "alias/aws/ssm"


@dataclass(frozen=True, slots=True, kw_only=True)
class Put:
    """A PutParameter request: None is a member that was not given and is inherited from the previous version."""

    name: Name
    value: str = field(repr=False)
    overwrite: bool
    kind: str | None
    key_ref: str | None
    description: str | None
    allowed_pattern: str | None
    tier: str | None
    policies: tuple[Policy, ...] | None
    data_type: str | None

    def __post_init__(self) -> None:
        """Rules that need no look at what is stored. Raises ValidationException."""
        check_text(self.value)
        check_storable("Value", self.value)
        check_storable("Description", self.description)
        check_storable("AllowedPattern", self.allowed_pattern)


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What an account has set for puts: the tier of those that name none, and the bytes of the largest value."""

    tier: str = "Standard"
    most: int = ADVANCED_BYTES


def tier_asked(put: Put, previous: Version | None, terms: Terms) -> str | None:
    """The tier that the put asks for, or else the account; None: that of the previous version."""
    return put.tier or (None if previous is not None and previous.tier == "Advanced" else terms.tier)


def next_version(
    put: Put, previous: Version | None, *, at: int, by: str, terms: Terms = Terms(), full: bool = False
) -> Version:
    """The version that the put makes, with its value still in the clear.

    `full`: there is no room for one more Standard parameter, so Intelligent-Tiering must take Advanced.
    Raises ParameterAlreadyExists, ValidationException, HierarchyTypeMismatchException, InvalidAllowedPatternException,
    ParameterPatternMismatchException.
    """
    if previous is not None and not put.overwrite:
        raise ParameterAlreadyExists(
            "The parameter already exists. To overwrite this value, set the overwrite option in the request to true."
        )
    kind = _kind(put, previous)
    description, pattern, data_type, key_ref = put.description, put.allowed_pattern, put.data_type, put.key_ref
    policies = put.policies
    if previous is not None:
        description = previous.description if description is None else description
        pattern = previous.allowed_pattern if pattern is None else pattern
        data_type = data_type or previous.data_type
        key_ref = key_ref or previous.key_ref
        policies = inherited(previous.policies) if policies is None else policies
    data_type = data_type or "text"
    if kind == SECURE:
        key_ref = key_ref or DEFAULT_KEY
    was = previous.tier if previous else None
    asked = tier_asked(put, previous, terms)
    tier = choose_tier(
        asked, was, put.value, data_type, policies=bool(put.policies), most=terms.most
    )  # bounds the rest
    if full and tier == "Standard" and asked == "Intelligent-Tiering":
        tier = "Advanced"
    check_data_type(data_type, kind, put.value)
    if pattern:
        check_pattern(pattern, put.value)
    return Version(
        path=put.name.path,
        name=previous.name if previous else put.name.text,
        number=previous.number + 1 if previous else 1,
        kind=kind,
        key_ref=key_ref,
        data_type=data_type,
        tier=tier,
        description=description or None,
        allowed_pattern=pattern or None,
        policies=policies or (),
        modified_at=at,
        modified_by=by,
        value=put.value,
    )


def _kind(put: Put, previous: Version | None) -> str:
    if previous is None:
        if put.kind is None:
            raise ValidationException("A parameter type is required when you create a parameter.")
        return put.kind
    if put.kind not in (None, previous.kind):
        raise HierarchyTypeMismatchException(
            f"Parameter Store does not support changing a parameter type in a hierarchy: {previous.name} is a "
            f"{previous.kind}. Create a new, unique parameter."
        )
    return previous.kind


def dropped_by(version: Version, kept: int) -> int | None:
    """The number of the version that goes when this one comes, or None while there is room for all that are kept."""
    oldest = version.number - kept
    return oldest if oldest > 0 else None


def labelled_of(dropped: int, labelled: Iterable[int]) -> int | None:
    """The oldest version that has a label among those that would go."""
    return min((number for number in labelled if number <= dropped), default=None)


def oldest_is_labelled(name: str, oldest: int) -> ParameterMaxVersionLimitExceeded:
    """The error of a put that would drop a labelled version."""
    return ParameterMaxVersionLimitExceeded(
        f"You attempted to create a new version of {name} by calling the PutParameter API with the overwrite flag. "
        f"Version {oldest}, the oldest version, can't be deleted because it has a label associated with it. Move the "
        "label to another version of the parameter, and try again."
    )
