"""The REST-XML protocol of S3: members in path, query, headers and XML; contents as streams."""

from typing import Any, Final
from urllib.parse import quote

from pilothouse.call import Content
from pilothouse.errors import ApiError, SerializationException
from pilothouse.rest_errors import MalformedXML
from pilothouse.wire.http import Request, Response, Write
from pilothouse.wire.models import OperationModel
from pilothouse.wire.rest_members import Head, Shapes, head, identity, located, packed, unpacked
from pilothouse.wire.rest_routes import S3, Hosts, named, parameters
from pilothouse.wire.shapes import ShapeModel
from pilothouse.wire.xml import escaped, inside, members, read, text_of

_DECLARATION: Final = '<?xml version="1.0" encoding="UTF-8"?>\n'
_NAMESPACE: Final = "http://s3.amazonaws.com/doc/2006-03-01/"
_ROOTS: Final = {
    "AbortMultipartUpload": "",
    "CompleteMultipartUpload": "CompleteMultipartUploadResult",
    "CreateMultipartUpload": "InitiateMultipartUploadResult",
    "DeleteObjects": "DeleteResult",
    "GetBucketAcl": "AccessControlPolicy",
    "GetBucketLifecycleConfiguration": "LifecycleConfiguration",
    "GetBucketLocation": "LocationConstraint",
    "GetBucketTagging": "Tagging",
    "GetBucketVersioning": "VersioningConfiguration",
    "GetObjectAcl": "AccessControlPolicy",
    "GetObjectAttributes": "GetObjectAttributesResponse",
    "GetObjectTagging": "Tagging",
    "ListBuckets": "ListAllMyBucketsResult",
    "ListMultipartUploads": "ListMultipartUploadsResult",
    "ListObjectVersions": "ListVersionsResult",
    "ListObjects": "ListBucketResult",
    "ListObjectsV2": "ListBucketResult",
    "ListParts": "ListPartsResult",
}
"""Operation to the name of its answer's root element, which the model does not say."""
_STATUS: Final = {"PutBucketPolicy": 204, "PutBucketTagging": 204}
"""Where the model does not say it either."""
_BARE: Final = {"GetBucketLocation": "LocationConstraint"}
"""Operations whose answer is the text of one member, in the root element itself."""

_CODES: Final = {
    "ValidationException": ("InvalidArgument", 400),
    "SerializationException": ("InvalidArgument", 400),
    "UnknownOperationException": ("NotImplemented", 501),
    "AccessDeniedException": ("AccessDenied", 403),
    "MissingAuthenticationTokenException": ("AccessDenied", 403),
    "IncompleteSignatureException": ("AuthorizationHeaderMalformed", 400),
    "UnrecognizedClientException": ("InvalidAccessKeyId", 403),
    "InvalidSignatureException": ("SignatureDoesNotMatch", 403),
    "SignatureOutOfTimeException": ("RequestTimeTooSkewed", 403),
    "PresignedExpiredException": ("AccessDenied", 403),
    "ExpiredTokenException": ("ExpiredToken", 400),
    "ThrottlingException": ("SlowDown", 503),
    "InternalServerError": ("InternalError", 500),
    "ServiceUnavailable": ("ServiceUnavailable", 503),
}
"""Errors of the whole house by their class to the code and status that S3 answers."""
_TEXTS: Final = {
    "AccessDenied": "Access Denied",
    "InvalidAccessKeyId": "The AWS Access Key Id you provided does not exist in our records.",
    "RequestTimeTooSkewed": "The difference between the request time and the current time is too large.",
    "ExpiredToken": "The provided token has expired.",
    "SlowDown": "Please reduce your request rate.",
    "InternalError": "We encountered an internal error. Please try again.",
}
"""Texts of S3's own, where the house's speak of something else."""
_OWN_TEXT: Final = frozenset({"AccessDeniedException"})


class RestXml:
    """The protocol as dispatch uses it; see `protocol.RestProtocol`."""

    service = S3

    def __init__(self, hosts: Hosts) -> None:
        self._hosts = hosts

    def name(self, request: Request) -> str:
        return named(self._hosts, request)[0]

    def members(self, operation: OperationModel, request: Request) -> dict[str, Any]:
        if operation.input is None:
            return {}
        shapes = operation.service.shapes
        shape = shapes[operation.input]
        found = self._located(shapes, shape, request)
        if operation.streamed_in is not None:
            return found
        if shape.payload is not None:
            reference = shape.members[shape.payload]
            payload = shapes[reference.shape]
            if payload.type != "structure":
                found[shape.payload] = _text(request.body)
            elif request.body:
                root = read(request.body)
                if root.name != (reference.locationName or shape.payload):
                    raise MalformedXML
                found[shape.payload] = members(shapes, payload, root)
        elif request.body and any(reference.location is None for reference in shape.members.values()):
            found |= members(shapes, shape, read(request.body))
        return found

    def body(self, operation: OperationModel, shape: dict[str, Any]) -> bytes:
        """Status, headers and body, packed: all three are kept for retries."""
        status, headers = self._head(operation, shape)
        text = self._xml(operation, shape)
        if text:
            headers["content-type"] = "application/json" if text.startswith("{") else "application/xml"
        return packed((status, headers), text)

    def answer(self, operation: OperationModel, body: bytes, request_id: str) -> Response:
        status, headers, text = unpacked(body)
        headers |= _ids(request_id)
        if operation.http.method == "HEAD":
            headers.setdefault("content-type", "application/xml")
        return Response(status, headers, text.encode())

    def streamed(self, operation: OperationModel, shape: dict[str, Any], request_id: str) -> Response:
        """An answer whose body is a content."""
        content: Content = shape[operation.streamed_out or ""]
        status, headers = self._head(operation, shape)
        headers["content-length"] = str(content.size)
        headers |= _ids(request_id)

        async def write_all(write: Write) -> None:
            async for piece in content.pieces:
                await write(piece)

        return Response(status, headers, b"", write_all)

    def error(self, error: ApiError, request_id: str, operation: OperationModel | None) -> Response:
        code, status = _CODES.get(type(error).__name__, (error.code, error.http_status))
        message = _TEXTS.get(code, error.message)
        if type(error).__name__ in _OWN_TEXT and error.message:
            message = error.message
        if type(error).__name__ == "PresignedExpiredException":
            message = "Request has expired"
        headers = {"content-type": "application/xml", **_ids(request_id)}
        for name in [each for each in error.members if each.islower()]:  # headers, not elements
            headers[name] = str(error.members[name])
        if status in (204, 304):
            headers.pop("content-type")
            return Response(status, headers, b"")
        if operation is not None and operation.http.method == "HEAD":
            return Response(status, headers, b"")
        more = "".join(
            f"<{name}>{escaped(str(value))}</{name}>" for name, value in error.members.items() if not name.islower()
        )
        text = (
            f"{_DECLARATION}<Error><Code>{code}</Code><Message>{escaped(message)}</Message>{more}"
            f"<RequestId>{request_id}</RequestId><HostId>{headers['x-amz-id-2']}</HostId></Error>"
        )
        return Response(status, headers, text.encode())

    def identity(self, request: Request) -> bytes:
        return identity(request)

    def _located(self, shapes: Shapes, shape: ShapeModel, request: Request) -> dict[str, Any]:
        target = self._hosts.target(request)
        query = {name: [value] for name, value in parameters(request.query).items()}
        return located(shapes, shape, {"Bucket": target.bucket, "Key": target.key}, query, request.headers)

    def _head(self, operation: OperationModel, shape: dict[str, Any]) -> Head:
        status, headers = head(operation, shape, _STATUS.get(operation.name, operation.http.responseCode))
        return 206 if "content-range" in headers else status, headers

    def _xml(self, operation: OperationModel, shape: dict[str, Any]) -> str:
        if operation.output is None or operation.http.method == "HEAD":
            return ""
        shapes = operation.service.shapes
        output = shapes[operation.output]
        if output.payload is not None:
            value = shape.get(output.payload)
            reference = output.members[output.payload]
            if value is None or shapes[reference.shape].type != "structure":
                return value or ""
            name = reference.locationName or output.payload
            inner = "".join(inside(shapes, shapes[reference.shape], value))
            return f'{_DECLARATION}<{name} xmlns="{_NAMESPACE}">{inner}</{name}>'
        root = _ROOTS.get(operation.name, "")
        if not root:
            return ""
        if operation.name in _BARE:
            inner = escaped(text_of(shape.get(_BARE[operation.name]) or ""))
        else:
            inner = "".join(inside(shapes, output, shape))
        return f'{_DECLARATION}<{root} xmlns="{_NAMESPACE}">{inner}</{root}>'


def _text(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise SerializationException("The body is not UTF-8.") from error


def _ids(request_id: str) -> dict[str, str]:
    return {"x-amz-request-id": request_id, "x-amz-id-2": quote(request_id.replace("-", ""), safe="")}
