"""Errors that are answers: one small class per error, the class name is the wire code.

Raised where the rule is known, turned into an answer in one place (`wire/dispatch`). A capability declares its own
errors next to its rules by subclassing `ApiError`. Messages say what could not be done and with which name; they never
hold a secret value.
"""

from collections.abc import Iterable
from typing import Any, ClassVar


class ApiError(Exception):
    """A modelled or common error answer; HTTP 400 unless the class says otherwise.

    `members` are further members of the error's shape (few shapes have any).
    """

    http_status: ClassVar[int] = 400
    query_code: ClassVar[str | None] = None
    """The code in query-protocol (STS, IAM) answers, where it differs from the class name."""
    query_status: ClassVar[int] = 400

    def __init__(self, message: str = "", **members: Any) -> None:
        super().__init__(message)
        self.message = message
        self.members = members

    @property
    def code(self) -> str:
        """The bare wire code, as it stands in `__type`."""
        return type(self).__name__


class ValidationException(ApiError):
    """A member breaks a constraint of the model or a documented rule."""

    query_code = "ValidationError"


class InvalidParameterException(ApiError):
    """The same, of services that answer so to what breaks their model (CloudWatch Logs)."""


class InvalidParameterValue(ApiError):
    """The same, of EC2, and of STS about the tags of a session."""


class BadRequestException(ApiError):
    """The same, of Resource Groups, also for rules that are in no model."""


class SerializationException(ApiError):
    """The body is not what the protocol demands."""

    query_code = "MalformedInput"


class UnknownOperationException(ApiError):
    """No such operation, or one that this server does not answer yet."""

    query_code = "InvalidAction"


class AccessDeniedException(ApiError):
    """The principal may not do this. Never raised for an internal fault: agents would sleep for half an hour."""

    query_code = "AccessDenied"
    query_status = 403


class MissingAuthenticationTokenException(ApiError):
    """The request carries no credentials."""

    query_code = "MissingAuthenticationToken"
    query_status = 403

    def __init__(self, message: str = "Missing Authentication Token") -> None:
        super().__init__(message)


class IncompleteSignatureException(ApiError):
    """The credentials are malformed, ambiguous, or do not cover what they must."""

    query_code = "IncompleteSignature"
    query_status = 403


class UnrecognizedClientException(ApiError):
    """Unknown or disabled access key, or a session token that is not the key's."""

    query_code = "InvalidClientTokenId"
    query_status = 403

    def __init__(self, message: str = "The security token included in the request is invalid.") -> None:
        super().__init__(message)


class InvalidSignatureException(ApiError):
    """The signature does not fit, or its date is too far from the server's clock."""

    query_code = "SignatureDoesNotMatch"
    query_status = 403

    def __init__(
        self,
        message: str = (
            "The request signature we calculated does not match the signature you provided. "
            "Check your AWS Secret Access Key and signing method. Consult the service documentation for details."
        ),
    ) -> None:
        super().__init__(message)


class SignatureOutOfTimeException(InvalidSignatureException):
    """The date of a signed header is too far from the server's clock; only S3 tells it from other bad signatures."""

    @property
    def code(self) -> str:
        return InvalidSignatureException.__name__


class PresignedExpiredException(InvalidSignatureException):
    """A presigned request after its time; only S3 tells it from other bad signatures."""

    @property
    def code(self) -> str:
        return InvalidSignatureException.__name__


class ExpiredTokenException(ApiError):
    """Temporary credentials past their expiry. Agents re-read their credentials on this code."""

    query_code = "ExpiredToken"
    query_status = 403

    def __init__(self, message: str = "The security token included in the request is expired") -> None:
        super().__init__(message)


class ThrottlingException(ApiError):
    """Too many requests; SDKs retry by themselves."""

    query_code = "Throttling"

    def __init__(self, message: str = "Rate exceeded") -> None:
        super().__init__(message)


class RequestEntityTooLarge(ApiError):
    """A body over the limit of the edge."""

    http_status = 413


class InternalServerError(ApiError):
    """Our own fault. The text never tells details; the log does, under the request id."""

    http_status = 500
    query_code = "InternalFailure"
    query_status = 500

    def __init__(self, message: str = "An internal error occurred. The request can be retried.") -> None:
        super().__init__(message)


class ServiceUnavailable(ApiError):
    """A part we stand on (database, bus) is away; retryable."""

    http_status = 503
    query_code = "ServiceUnavailable"
    query_status = 503


class RoleMissing(ServiceUnavailable):
    """This process does not do what was asked; another of the installation does. Retryable."""

    def __init__(self, roles: Iterable[str], missing: str) -> None:
        has = ", ".join(sorted(roles))
        super().__init__(
            f"This process lacks the role {missing} (it has: {has}). Ask a process that has it. "
            "The request can be retried."
        )

    @property
    def code(self) -> str:
        return ServiceUnavailable.__name__
