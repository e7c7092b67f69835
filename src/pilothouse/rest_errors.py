"""Errors of the REST edge: of requests that are malformed, broken off, or not what their checksums say.

Codes and texts are those of S3's list of error codes; its service model names few of them.
"""

from pilothouse.errors import ApiError


class BadDigest(ApiError):
    """The content is not what its checksum says."""


class IncompleteBody(ApiError):
    """The content has not the length that was announced."""

    def __init__(self) -> None:
        super().__init__("The request body terminated unexpectedly")


class InvalidChunkSizeError(ApiError):
    """A chunk of an `aws-chunked` body does not say how long it is."""

    def __init__(self) -> None:
        super().__init__("Chunk size is invalid.")


class InvalidDigest(ApiError):
    """Content-MD5 is not base64 of 16 bytes."""

    def __init__(self) -> None:
        super().__init__("The Content-MD5 you specified was invalid.")


class InvalidRequest(ApiError):
    """Headers that contradict each other, or lack what they need."""


class InvalidURI(ApiError):
    """The path is not UTF-8 in percent-encoding."""

    def __init__(self) -> None:
        super().__init__("Couldn't parse the specified URI.")


class MalformedTrailerError(ApiError):
    """What follows the content is not the announced checksum."""

    def __init__(self) -> None:
        super().__init__(
            "The request contained trailing data that was not well-formed or did not conform to our published schema."
        )


class MalformedXML(ApiError):
    """The body is not the XML that the operation wants."""

    def __init__(
        self,
        message: str = "The XML you provided was not well-formed or did not validate against our published schema",
    ) -> None:
        super().__init__(message)


class MaxMessageLengthExceeded(ApiError):
    """The XML of a request is too large."""

    def __init__(self, limit: int) -> None:
        super().__init__("Your request was too big.", MaxMessageLengthBytes=str(limit))


class MethodNotAllowed(ApiError):
    """There is nothing that this method does to this resource."""

    http_status = 405

    def __init__(self, method: str) -> None:
        super().__init__("The specified method is not allowed against this resource.", Method=method)


class MissingContentLength(ApiError):
    """The length of the content must be said beforehand."""

    http_status = 411

    def __init__(self) -> None:
        super().__init__("You must provide the Content-Length HTTP header.")


class RequestTimeout(ApiError):
    """The content came too slowly."""

    def __init__(self) -> None:
        super().__init__(
            "Your socket connection to the server was not read from or written to within the timeout period. "
            "Idle connections will be closed."
        )


class XAmzContentSHA256Mismatch(ApiError):
    """The content has not the hash that was signed."""

    def __init__(self, stated: str, found: str) -> None:
        super().__init__(
            "The provided 'x-amz-content-sha256' header does not match what was computed.",
            ClientComputedContentSHA256=stated,
            S3ComputedContentSHA256=found,
        )
