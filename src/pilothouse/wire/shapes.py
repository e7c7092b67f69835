"""The parts of a botocore service model that we read, as typed records. Everything else in the files is skipped."""

from msgspec import Struct, field


class Reference(Struct, frozen=True):
    """A member, element, key or value: the name of its shape, and in REST protocols where it stands."""

    shape: str
    location: str | None = None
    """`uri`, `querystring`, `header`, `headers` (all that begin with locationName), `statusCode`; None: the body."""
    locationName: str | None = None  # noqa: N815 - the file's own name
    queryName: str | None = None  # noqa: N815 - the file's own name
    """What EC2's forms call a member where that is not its locationName."""
    flattened: bool = False
    streaming: bool = False
    xmlAttribute: bool = False  # noqa: N815 - the file's own name


class ErrorTrait(Struct, frozen=True):
    """How an exception looks in the query protocol."""

    code: str | None = None
    httpStatusCode: int = 400  # noqa: N815 - the file's own name
    senderFault: bool = True  # noqa: N815 - the file's own name


class ShapeModel(Struct, frozen=True):
    """One shape with its constraints."""

    type: str
    members: dict[str, Reference] = field(default_factory=dict)
    required: list[str] = field(default_factory=list)
    member: Reference | None = None
    key: Reference | None = None
    value: Reference | None = None
    enum: list[str] | None = None
    pattern: str | None = None
    min: float | None = None
    max: float | None = None
    sensitive: bool = False
    exception: bool = False
    eventstream: bool = False
    error: ErrorTrait | None = None
    flattened: bool = False
    payload: str | None = None
    """The member that is the whole body, in REST protocols."""
    timestampFormat: str | None = None  # noqa: N815 - the file's own name


class OutputReference(Struct, frozen=True):
    """An operation's output shape; the query protocol wraps it in one more element."""

    shape: str
    resultWrapper: str | None = None  # noqa: N815 - the file's own name


class HttpTrait(Struct, frozen=True):
    """How a REST protocol asks for an operation."""

    method: str = "POST"
    requestUri: str = "/"  # noqa: N815 - the file's own name
    responseCode: int = 200  # noqa: N815 - the file's own name


class OperationEntry(Struct, frozen=True):
    """One operation as it stands in the file."""

    name: str
    http: HttpTrait = HttpTrait()
    deprecated: bool = False
    input: Reference | None = None
    output: OutputReference | None = None
    errors: list[Reference] = field(default_factory=list)


class Metadata(Struct, frozen=True):
    """What the file says about the service as a whole."""

    apiVersion: str  # noqa: N815 - the file's own name
    protocol: str
    targetPrefix: str | None = None  # noqa: N815 - the file's own name
    xmlNamespace: str | None = None  # noqa: N815 - the file's own name


class ServiceFile(Struct, frozen=True):
    """A `service-2.json`."""

    metadata: Metadata
    operations: dict[str, OperationEntry]
    shapes: dict[str, ShapeModel]
