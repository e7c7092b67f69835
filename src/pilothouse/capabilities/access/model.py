"""Accounts and access keys."""

from dataclasses import dataclass, field
from typing import Final

from pilothouse.errors import ApiError


class NoSuchEntityException(ApiError):
    """There is no user, policy or access key of that name."""


class EntityAlreadyExistsException(ApiError):
    """The name is taken."""


class DeleteConflictException(ApiError):
    """Something still hangs on what is to be deleted."""


class LimitExceededException(ApiError):
    """A quota of IAM."""


class InvalidInputException(ApiError):
    """Something about a request that IAM looks at besides the model."""


class MalformedPolicyDocumentException(ApiError):
    """The document is not a policy; the text says why."""


class InvalidAuthorizationMessageException(ApiError):
    """The text is no encoded refusal of ours."""


class InvalidIdentityTokenException(ApiError):
    """The token of an identity provider is none, or not for us."""


class IDPCommunicationErrorException(ApiError):
    """The identity provider could not be asked for its keys; the request can be made again."""


class IDPRejectedClaimException(ApiError):
    """The token says something about the session that cannot be."""


ROLE_ID: Final = "AROA"
"""What ids of roles begin with."""


class AccountExists(Exception):
    """An account of that name is there already."""


class NoSuchAccount(Exception):
    """There is no account of that id or name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountKey:
    """An account with a root access key of it."""

    account_id: str
    access_key_id: str
    secret: str = field(repr=False)


def is_arn(text: str) -> bool:
    """Whether it has the six parts of an ARN, and of them those that no ARN is without."""
    first, partition, service, _, _, resource = (text.split(":", 5) + [""] * 5)[:6]
    return first == "arn" and bool(partition and service and resource)


def root_arn(account_id: str) -> str:
    """The ARN of an account's root principal."""
    return f"arn:aws:iam::{account_id}:root"


def seal_context(account_id: str, access_key_id: str) -> str:
    """What the sealed secret of a key is bound to."""
    return f"access-key/{account_id}/{access_key_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """An IAM user."""

    account_id: str
    name: str
    path: str
    """Begins and ends with a slash."""
    user_id: str
    created_at: int
    """Epoch milliseconds."""

    @property
    def arn(self) -> str:
        return user_arn(self.account_id, self.path, self.name)

    @property
    def unique_id(self) -> str:
        return self.user_id


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessKey:
    """What is told of an access key; never its secret."""

    access_key_id: str
    status: str
    created_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyUse:
    """A use of an access key."""

    at: int
    """Epoch milliseconds."""
    service: str
    region: str


def user_arn(account_id: str, path: str, name: str) -> str:
    """The ARN of a user."""
    return f"arn:aws:iam::{account_id}:user{path}{name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """An IAM role."""

    account_id: str
    name: str
    path: str
    role_id: str
    description: str
    trust: str
    """Who may take it on."""
    max_session: int
    """Seconds."""
    created_at: int

    @property
    def arn(self) -> str:
        return role_arn(self.account_id, self.path, self.name)

    @property
    def unique_id(self) -> str:
        return self.role_id


def role_arn(account_id: str, path: str, name: str) -> str:
    """The ARN of a role."""
    return f"arn:aws:iam::{account_id}:role{path}{name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagedPolicy:
    """A policy that users and roles can hold; its documents are in its versions."""

    account_id: str
    """`aws` for those that every account has."""
    name: str
    path: str
    policy_id: str
    description: str
    default_version: int
    last_version: int
    """The highest number that was given; none is given twice."""
    created_at: int
    updated_at: int

    @property
    def arn(self) -> str:
        return policy_arn(self.account_id, self.path, self.name)

    @property
    def unique_id(self) -> str:
        return self.policy_id


def policy_arn(account_id: str, path: str, name: str) -> str:
    """The ARN of a managed policy."""
    return f"arn:aws:iam::{account_id}:policy{path}{name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """An IAM group."""

    account_id: str
    name: str
    path: str
    group_id: str
    created_at: int

    @property
    def arn(self) -> str:
        return group_arn(self.account_id, self.path, self.name)

    @property
    def unique_id(self) -> str:
        return self.group_id


def group_arn(account_id: str, path: str, name: str) -> str:
    """The ARN of a group."""
    return f"arn:aws:iam::{account_id}:group{path}{name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceProfile:
    """A name under which a role is given to machines."""

    account_id: str
    name: str
    path: str
    profile_id: str
    role_id: str
    """Empty: none is in it."""
    created_at: int

    @property
    def arn(self) -> str:
        return profile_arn(self.account_id, self.path, self.name)

    @property
    def unique_id(self) -> str:
        return self.profile_id


def profile_arn(account_id: str, path: str, name: str) -> str:
    """The ARN of an instance profile."""
    return f"arn:aws:iam::{account_id}:instance-profile{path}{name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class OidcProvider:
    """An OpenID Connect provider whose tokens an account believes."""

    account_id: str
    url: str
    """Without https://."""
    client_ids: tuple[str, ...]
    thumbprints: tuple[str, ...]
    created_at: int

    @property
    def arn(self) -> str:
        return oidc_arn(self.account_id, self.url)


def oidc_arn(account_id: str, url: str) -> str:
    """The ARN of an OpenID Connect provider; the URL without https://."""
    return f"arn:aws:iam::{account_id}:oidc-provider/{url}"
