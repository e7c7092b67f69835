"""What people sign in with: passwords, second factors, and identity providers that they are sent to."""

from dataclasses import dataclass, field

from pilothouse.errors import ApiError, ThrottlingException


class PasswordPolicyViolationException(ApiError):
    """The password breaks a rule of the account."""


class InvalidUserTypeException(ApiError):
    """Somebody without a password asks to change it."""


class InvalidAuthenticationCodeException(ApiError):
    """The codes are not those of the device."""


class SignInRefusedException(ApiError):
    """Account, name, password or code are not right, and which of them is not said."""


class MfaRequiredException(ApiError):
    """The password is right; a code of the second factor is missing."""


class PasswordChangeRequiredException(ApiError):
    """The password is right and no longer enough: a new one must come with it."""


class TooManyAttemptsException(ThrottlingException):
    """After so many failures, the next attempt must wait."""

    def __init__(self, seconds: int) -> None:
        ApiError.__init__(
            self, f"There were too many attempts. Try again in {seconds} seconds.", RetryAfterSeconds=seconds
        )


REFUSAL = "The account, the user name, the password or the code is not right."
"""The one text for all that can be wrong about an attempt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginProfile:
    """A user's password."""

    account_id: str
    user_id: str
    password_sealed: bytes = field(repr=False)
    session_key: str = field(repr=False)
    """What the credentials of sign-ins hang on."""
    reset_required: bool
    created_at: int
    changed_at: int
    used_at: int
    """Epoch milliseconds; 0: never signed in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MfaDevice:
    """A virtual device that makes codes."""

    account_id: str
    serial: str
    """Its ARN."""
    user_id: str
    """Whose second factor it is; empty: nobody's yet."""
    seed_sealed: bytes = field(repr=False)
    created_at: int
    enabled_at: int
    drift: int
    last_step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SignInProvider:
    """An identity provider with what is needed to send people there."""

    account_id: str
    name: str
    provider_url: str
    """Of the account's OpenID Connect provider, without https://."""
    client_id: str
    secret_sealed: bytes | None = field(repr=False)
    role_arns: tuple[str, ...]
    """Roles that people may get, if the roles' trust policies let them."""
    redirect_uris: tuple[str, ...]
    scopes: tuple[str, ...]


def mfa_arn(account_id: str, path: str, name: str) -> str:
    """The ARN of a virtual device, which is its serial number."""
    return f"arn:aws:iam::{account_id}:mfa{path}{name}"


def password_context(account_id: str, user_id: str) -> str:
    """What a sealed password hash is bound to."""
    return f"login/{account_id}/{user_id}"


def former_context(account_id: str, user_id: str, number: int | str) -> str:
    """What the sealed hash of a former password is bound to."""
    return f"former-login/{account_id}/{user_id}/{number}"


def seed_context(account_id: str, serial: str) -> str:
    """What a sealed seed is bound to."""
    return f"mfa-seed/{account_id}/{serial}"


def client_secret_context(account_id: str, name: str) -> str:
    """What the sealed secret that we show to a provider is bound to."""
    return f"sign-in-provider/{account_id}/{name}"
