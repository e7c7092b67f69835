"""What dispatch asks of a wire protocol. JSON 1.1, query, EC2's, REST-XML and REST-JSON are those that there are."""

from typing import Any, Protocol

from pilothouse.errors import ApiError
from pilothouse.wire.http import Request, Response
from pilothouse.wire.models import OperationModel


class WireProtocol(Protocol):
    """Reads requests and writes answers; knows nothing of what they mean."""

    def members(self, operation: OperationModel, request: Request) -> dict[str, Any]:
        """The request's members with JSON's types, not yet validated. Raises SerializationException."""

    def body(self, operation: OperationModel, shape: dict[str, Any]) -> bytes:
        """The answer without anything that differs from one retry to the next; this is kept for retries."""

    def answer(self, operation: OperationModel, body: bytes, request_id: str) -> Response:
        """The whole answer around such a body."""

    def error(self, error: ApiError, request_id: str, operation: OperationModel | None) -> Response:
        """An error; `operation` is None when the request did not get so far."""


class RestProtocol(WireProtocol, Protocol):
    """The protocol of one service, where method, path and query say what is asked for."""

    service: str

    def name(self, request: Request) -> str:
        """The operation. Raises UnknownOperationException, and errors of its own."""

    def identity(self, request: Request) -> bytes:
        """What two requests have in common that are the same call."""
