"""Service models: botocore's published data, our files for what the official agent calls beyond it, and our service.

Owns the reading of the model files and gives each operation its compiled reader and writer. Loaded per service at first
use; documentation texts are skipped while decoding, so a loaded service costs little memory.
"""

import gzip
from collections.abc import Mapping
from functools import cache, cached_property
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any

import msgspec

from pilothouse.errors import (
    ApiError,
    BadRequestException,
    InvalidParameterException,
    InvalidParameterValue,
    ValidationException,
)
from pilothouse.wire.answers import AnswerCompiler
from pilothouse.wire.shapes import OperationEntry, ServiceFile, ShapeModel
from pilothouse.wire.validation import BOUNDS_LEFT_TO_OPERATIONS, IN_WORDS, InputCompiler, Violations, lower_camel

PUBLIC = ("ssm", "secretsmanager", "kms", "sts", "iam", "cloudtrail", "logs", "s3", "sns", "resource-groups", "ec2")
"""The services whose public models we answer by."""

INTERNAL = ("ssm", "ec2messages")
"""The services that have a file of ours in `agent-models`: it adds to the public model, or is the whole of it."""

OWN = ("pilothouse",)
"""Services beyond the cloud's: what `pilothouse` commands and the console ask for. Files in `own-models`."""

TARGETS = {
    "AmazonSSM": "ssm",
    "secretsmanager": "secretsmanager",
    "TrentService": "kms",
    "com.amazonaws.cloudtrail.v20131101.CloudTrail_20131101": "cloudtrail",
    "Logs_20140328": "logs",
    "EC2WindowsMessageDeliveryService": "ec2messages",
    "Pilothouse": "pilothouse",
}
"""`X-Amz-Target` prefix to service; known without loading a model."""

REST_JSON = frozenset({"resource-groups"})
"""Services of the REST-JSON protocol; known without loading a model."""

VERSIONS = {"2011-06-15": "sts", "2010-05-08": "iam", "2010-03-31": "sns", "2016-11-15": "ec2"}
"""`Version` of a form, of the query protocol or of EC2's, to service."""

_COMMON_ERRORS = frozenset({"ValidationException", "AccessDeniedException", "ThrottlingException"})
"""Errors of the front door: where an operation does not declare them, their text is `message`, in whatever shape."""


_REFUSALS: Mapping[str, type[ApiError]] = {
    "logs": InvalidParameterException,
    "resource-groups": BadRequestException,
    "ec2": InvalidParameterValue,
}
"""What services answer to what breaks their model, where it is not a ValidationException."""


class OperationModel:
    """One operation of a model, compiled at first use."""

    def __init__(self, service: "ServiceModel", name: str, entry: OperationEntry) -> None:
        self.service = service
        self.name = name
        self.input = entry.input.shape if entry.input else None
        self.output = entry.output.shape if entry.output else None
        self.result_wrapper = entry.output.resultWrapper if entry.output else None
        self.http = entry.http
        self.deprecated = entry.deprecated
        self.errors = frozenset(reference.shape for reference in entry.errors)

    @cached_property
    def streamed_in(self) -> str | None:
        """The member that is the request's body and comes as a stream; it is no part of what `parse` reads."""
        return self._streamed(self.input)

    @cached_property
    def streamed_out(self) -> str | None:
        """The member that is the answer's body and leaves as a stream."""
        return self._streamed(self.output)

    def _streamed(self, shape: str | None) -> str | None:
        if shape is None or (payload := self.service.shapes[shape].payload) is None:
            return None
        return payload if self.service.shapes[shape].members[payload].streaming else None

    @cached_property
    def _read(self) -> Any:
        return None if self.input is None else self.service.inputs.reader(self.input)

    @cached_property
    def _write(self) -> Any:
        return None if self.output is None else self.service.answers.writer(self.output)

    @cached_property
    def event_stream(self) -> str | None:
        """The member of the answer whose events come one after another; None where there is none, as nearly always."""
        if self.output is None:
            return None
        members = self.service.shapes[self.output].members
        return next((name for name, of in members.items() if self.service.shapes[of.shape].eventstream), None)

    def event(self, members: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """One event, given as `{name: members}`: its name, and its members ready for JSON."""
        assert self.output is not None
        assert self.event_stream is not None
        union = self.service.shapes[self.service.shapes[self.output].members[self.event_stream].shape]
        ((name, value),) = members.items()
        return name, self.service.answers.writer(union.members[name].shape)(value)

    def parse(self, decoded: dict[str, Any]) -> dict[str, Any]:
        """The request by the model: unknown members and nulls dropped, every constraint checked.

        Raises SerializationException (a member of the wrong type), ValidationException (all violations in one text).
        """
        if self._read is None:
            return {}
        violations = Violations()
        shape: dict[str, Any] = self._read(decoded, "", violations)
        if violations.count:
            raise violations.error(self.name, _REFUSALS.get(self.service.name, ValidationException))
        return shape

    def parse_beyond(self, decoded: dict[str, Any], most: Mapping[str, int]) -> tuple[dict[str, Any], ApiError | None]:
        """As `parse`; but a number over the model's maximum and not over its own in `most` is let through.

        Then the refusal comes back beside the shape, for the operation to raise or not. It must be the only violation.
        """
        if self._read is None:
            return {}, None
        violations = Violations()
        shape: dict[str, Any] = self._read(decoded, "", violations)
        if not violations.count:
            return shape, None
        refusal = violations.error(self.name)
        if violations.count == 1 and violations.texts and " less than or equal to " in violations.texts[0]:
            for member, limit in most.items():
                if f" at '{lower_camel(member)}' failed " in violations.texts[0] and shape[member] <= limit:
                    return shape, refusal
        raise refusal

    def answer(self, shape: dict[str, Any]) -> dict[str, Any]:
        """The answer's members ready for JSON. A member that the model lacks is a KeyError: a bug of the handler."""
        if self._write is None:
            return {}
        written: dict[str, Any] = self._write(shape)
        return written

    def message_member(self, error: ApiError) -> str:
        """The member under which the error's text stands."""
        code = error.code
        if code in self.errors or code not in _COMMON_ERRORS:
            shape = self.service.shapes.get(code)
            if shape is not None and shape.exception:
                for member in shape.members:
                    if member.lower() == "message":
                        return member
        return "message"


class ServiceModel:
    """The shapes and operations of one service."""

    def __init__(self, name: str, files: list[ServiceFile]) -> None:
        self.name = name
        self.metadata = files[0].metadata
        self.public = frozenset(files[0].operations) if name in PUBLIC else frozenset[str]()
        self.shapes: dict[str, ShapeModel] = {}
        self.operations: dict[str, OperationModel] = {}
        for file in files:
            self.shapes.update(file.shapes)
        for shape, bounds in BOUNDS_LEFT_TO_OPERATIONS.get(name, {}).items():
            self.shapes[shape] = msgspec.structs.replace(self.shapes[shape], **dict.fromkeys(bounds))
        for file in files:
            for operation, entry in file.operations.items():
                self.operations[operation] = OperationModel(self, operation, entry)
        self.inputs = InputCompiler(self.shapes, IN_WORDS if name == "iam" else {})
        self.answers = AnswerCompiler(self.shapes)

    @property
    def namespace(self) -> str:
        """The XML namespace of query-protocol answers."""
        return self.metadata.xmlNamespace or ""

    def error_shape(self, code: str) -> ShapeModel | None:
        """The exception of that name, if the model has it."""
        shape = self.shapes.get(code)
        return shape if shape is not None and shape.exception else None


@cache
def service_model(service: str) -> ServiceModel:
    """The model of a service by its name in credential scopes. Raises KeyError for one we do not know."""
    files = []
    if service in PUBLIC:
        files.append(_file(resources.files("botocore") / "data" / service))
    if service in INTERNAL:
        files.append(_file(resources.files("pilothouse.wire") / "agent-models" / service))
    if service in OWN:
        files.append(_file(resources.files("pilothouse.wire") / "own-models" / service))
    if not files:
        raise KeyError(service)
    return ServiceModel(service, files)


def _file(folder: Traversable) -> ServiceFile:
    """The newest version in a folder of botocore's layout, packed or not."""
    newest = folder / max(entry.name for entry in folder.iterdir())
    packed = newest / "service-2.json.gz"
    text = gzip.decompress(packed.read_bytes()) if packed.is_file() else (newest / "service-2.json").read_bytes()
    return msgspec.json.decode(text, type=ServiceFile)
