"""The errors of the kms service, each named by its wire code."""

from pilothouse.errors import ApiError


class AlreadyExistsException(ApiError):
    """An alias or another named thing exists already."""


class ConflictException(ApiError):
    """The request cannot be met because of another that goes on."""


class CustomKeyStoreNotFoundException(ApiError):
    """There is no such custom key store; this server has none."""


class DisabledException(ApiError):
    """The key is disabled."""


class DryRunOperationException(ApiError):
    """The request would have succeeded."""

    def __init__(self, message: str = "The request would have succeeded, but the DryRun option is set.") -> None:
        super().__init__(message)


class ExpiredImportTokenException(ApiError):
    """The import token has expired."""


class IncorrectKeyException(ApiError):
    """The ciphertext is of another key than the request names."""

    def __init__(
        self,
        message: str = "The key ID in the request does not identify a CMK that can perform this operation.",
    ) -> None:
        super().__init__(message)


class IncorrectKeyMaterialException(ApiError):
    """The imported material is not the one that the key had."""


class InvalidAliasNameException(ApiError):
    """No alias can have this name."""


class InvalidArnException(ApiError):
    """A text that should be an ARN is none, or names a thing that cannot stand here."""


class InvalidCiphertextException(ApiError):
    """The blob is not ours, was altered, or was made under another encryption context or for another place."""


class InvalidGrantIdException(ApiError):
    """No grant has this id."""


class InvalidGrantTokenException(ApiError):
    """The grant token is not ours, or its grant is gone."""


class InvalidImportTokenException(ApiError):
    """The import token is not ours, or belongs to another key."""


class InvalidKeyUsageException(ApiError):
    """The key's usage or spec does not fit the operation."""


class InvalidMarkerException(ApiError):
    """The marker is not one that this list gave."""


class KMSInternalException(ApiError):
    """Our own fault; the request can be retried."""

    http_status = 500


class KMSInvalidMacException(ApiError):
    """The MAC does not belong to the message."""


class KMSInvalidSignatureException(ApiError):
    """The signature does not belong to the message."""


class KMSInvalidStateException(ApiError):
    """The key's state does not allow this."""


class KeyUnavailableException(ApiError):
    """The key cannot be used now."""

    http_status = 500


class LimitExceededException(ApiError):
    """A limit of keys, aliases, grants or rotations is reached."""


class MalformedPolicyDocumentException(ApiError):
    """The key policy is not one."""


class NotAuthorizedException(ApiError):
    """The name of an alias is one of those that are kept for services."""


class NotFoundException(ApiError):
    """No such key, alias or grant in this account and region."""


class TagException(ApiError):
    """Tags that cannot be."""


class UnsupportedOperationException(ApiError):
    """This cannot be done with this key, or not on this server."""
