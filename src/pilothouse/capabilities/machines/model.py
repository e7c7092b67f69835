"""Machines, snapshots of their disks, images, what is to be done to them, and the errors about them. No I/O."""

import re
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from typing import Any, ClassVar, Final

from pilothouse.errors import ApiError, InvalidParameterValue

HOUR_MS: Final = 3_600_000
KEPT_MS: Final = HOUR_MS
"""A machine that is gone is shown for so long."""
_HEX: Final = 17
_ID: Final = re.compile(r"(i|ami|snap|vol)-[0-9a-f]{8}(?:[0-9a-f]{9})?")
_NOT_IN_TAG: Final = re.compile(r"[\x00-\x1f\x7f]")
_IMAGE_NAME: Final = re.compile(r"[A-Za-z0-9()\[\] ./'@_-]{3,128}")
MOST_TAGS: Final = 50


class EdgeError(ApiError):
    """An error of EC2, whose codes have points in them: `dotted` is the code."""

    dotted: ClassVar[str] = ""

    @property
    def code(self) -> str:
        return self.dotted or type(self).__name__


class InvalidInstanceIDNotFound(EdgeError):
    """No such machine in this account and region."""

    dotted = "InvalidInstanceID.NotFound"


class InvalidInstanceIDMalformed(EdgeError):
    """Not the id of a machine."""

    dotted = "InvalidInstanceID.Malformed"


class InvalidAMIIDNotFound(EdgeError):
    """No such image."""

    dotted = "InvalidAMIID.NotFound"


class InvalidAMIIDMalformed(EdgeError):
    """Not the id of an image."""

    dotted = "InvalidAMIID.Malformed"


class InvalidAMIIDUnavailable(EdgeError):
    """The image is not whole (yet)."""

    dotted = "InvalidAMIID.Unavailable"


class InvalidAMINameMalformed(EdgeError):
    """No image can have that name."""

    dotted = "InvalidAMIName.Malformed"


class InvalidAMINameDuplicate(EdgeError):
    """Another image has the name."""

    dotted = "InvalidAMIName.Duplicate"


class InvalidSnapshotNotFound(EdgeError):
    """No such snapshot."""

    dotted = "InvalidSnapshot.NotFound"


class InvalidSnapshotInUse(EdgeError):
    """An image stands on the snapshot."""

    dotted = "InvalidSnapshot.InUse"


class InvalidSnapshotIDMalformed(EdgeError):
    """Not the id of a snapshot."""

    dotted = "InvalidSnapshotID.Malformed"


class IncorrectState(EdgeError):
    """The snapshot is not whole."""


class InvalidReplaceRootVolumeTaskIDNotFound(EdgeError):
    """No such task."""

    dotted = "InvalidReplaceRootVolumeTaskId.NotFound"


class InvalidVolumeNotFound(EdgeError):
    """No machine has such a disk."""

    dotted = "InvalidVolume.NotFound"


class InvalidID(EdgeError):
    """Not the id of anything that has tags here."""


class IncorrectInstanceState(EdgeError):
    """The machine is in a state in which that cannot be done."""


class OperationNotPermitted(EdgeError):
    """The machine is protected."""


class UnsupportedOperation(EdgeError):
    """Nothing here does that."""


class InvalidParameterCombination(EdgeError):
    """Members that do not go together."""


class MissingParameter(EdgeError):
    """A member that must be there is not."""


class IdempotentParameterMismatch(EdgeError):
    """The client token was used for something else."""


class TagLimitExceeded(EdgeError):
    """More tags than a resource may have."""


class InsufficientInstanceCapacity(EdgeError):
    """There is no place where a machine could be."""


class DryRunOperation(EdgeError):
    """The call was only tried, and would have been allowed."""

    http_status = 412

    def __init__(self) -> None:
        super().__init__("Request would have succeeded, but DryRun flag is set.")


class State(StrEnum):
    """Of a machine."""

    PENDING = "pending"
    RUNNING = "running"
    SHUTTING_DOWN = "shutting-down"
    TERMINATED = "terminated"
    STOPPING = "stopping"
    STOPPED = "stopped"


CODES: Final = {
    State.PENDING: 0, State.RUNNING: 16, State.SHUTTING_DOWN: 32, State.TERMINATED: 48, State.STOPPING: 64,
    State.STOPPED: 80,
}  # fmt: skip
PENDING: Final = "pending"
AVAILABLE: Final = "available"
COMPLETED: Final = "completed"
IN_PROGRESS: Final = "in-progress"
SUCCEEDED: Final = "succeeded"
FAILED: Final = "failed"
ERROR: Final = "error"


class Kind(StrEnum):
    """What is to be done."""

    START = "start"
    STOP = "stop"
    REBOOT = "reboot"
    TERMINATE = "terminate"
    RUN = "run"
    SNAPSHOT = "snapshot"
    IMAGE = "image"
    COPY_IMAGE = "copy-image"
    REPLACE_ROOT = "replace-root"
    FORGET = "forget"
    """Remove the volume of a snapshot that was deleted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """A disk of a machine."""

    device: str
    volume_id: str
    volume: str
    """What the driver calls it."""
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A machine as it is stored."""

    account_id: str
    region: str
    machine_id: str
    connection: str
    native: str
    name: str
    state: State
    run: int | None
    size: str
    vcpus: int
    memory_mib: int
    architecture: str
    disks: tuple[Disk, ...]
    addresses: tuple[str, ...]
    lasting: bool
    """It is there also while it does not run."""
    made_here: bool
    """It was run from an image by this server."""
    image_id: str = ""
    reservation_id: str = ""
    launch_index: int = 0
    client_token: str = ""
    launched_at: int = 0
    ended_at: int | None = None
    reason: str = ""
    touched_at: int = 0
    """When a call or a work last wrote it: what was seen before that says nothing of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A copy of a disk."""

    account_id: str
    region: str
    snapshot_id: str
    connection: str
    volume_id: str
    machine_id: str
    description: str
    state: str
    volume: str
    size_bytes: int
    created_at: int
    ended_at: int | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """What machines are run from."""

    account_id: str
    region: str
    image_id: str
    connection: str
    name: str
    description: str
    machine_id: str
    source_image_id: str
    source_region: str
    client_token: str
    state: str
    template: str
    architecture: str
    created_at: int
    reason: str = ""
    disks: tuple[tuple[str, str], ...] = ()
    """Device and snapshot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RootTask:
    """A machine's first disk gets the content of a snapshot."""

    account_id: str
    region: str
    task_id: str
    machine_id: str
    snapshot_id: str
    image_id: str
    """Where the snapshot is that of an image."""
    delete_replaced: int
    client_token: str
    state: str
    created_at: int
    ended_at: int | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Something that is to be done to a subject: a machine, a snapshot or an image, by its id."""

    number: int
    account_id: str
    region: str
    connection: str
    subject: str
    kind: Kind
    arguments: dict[str, Any]
    progress: dict[str, Any]
    created_at: int
    attempt: int = 0
    holder: str = ""
    superseded: bool = field(default=False, compare=False)
    """Something later makes this one idle."""


SIZES: Final = {
    "t2.nano": (1, 512), "t2.micro": (1, 1024), "t2.small": (1, 2048), "t2.medium": (2, 4096), "t2.large": (2, 8192),
    "t3.nano": (2, 512), "t3.micro": (2, 1024), "t3.small": (2, 2048), "t3.medium": (2, 4096), "t3.large": (2, 8192),
    "t3.xlarge": (4, 16384), "m1.small": (1, 1740), "m5.large": (2, 8192), "m5.xlarge": (4, 16384),
    "m5.2xlarge": (8, 32768), "c5.large": (2, 4096), "c5.xlarge": (4, 8192), "r5.large": (2, 16384),
}  # fmt: skip
"""Processors and MiB of memory of instance types that runbooks ask for."""
_OWN_SIZE: Final = re.compile(r"machine\.([1-9][0-9]{0,2})x([1-9][0-9]{1,6})")


def size_named(name: str) -> tuple[int, int]:
    """Processors and MiB of memory of an instance type. Raises InvalidParameterValue."""
    if name in SIZES:
        return SIZES[name]
    found = _OWN_SIZE.fullmatch(name)
    if found is None:
        raise InvalidParameterValue(
            f"Invalid value '{name}' for InstanceType: there are {', '.join(sorted(SIZES))}, "
            "and machine.PROCESSORSxMEBIBYTES such as machine.2x2048."
        )
    return int(found[1]), int(found[2])


def size_of(vcpus: int, memory_mib: int) -> str:
    """How the size of a machine is named."""
    return f"machine.{vcpus}x{memory_mib}"


def _digest(*parts: str) -> str:
    return sha256("\n".join(parts).encode()).hexdigest()[:_HEX]


def machine_id_of(account_id: str, region: str, native: str) -> str:
    """The id of a machine that was found: always the same one, also on another connection."""
    return f"i-{_digest(account_id, region, native)}"


def volume_id_of(machine_id: str, device: str) -> str:
    """The id of a machine's disk."""
    return f"vol-{_digest(machine_id, device)}"


_MALFORMED: Final[dict[str, type[EdgeError]]] = {
    "i": InvalidInstanceIDMalformed, "ami": InvalidAMIIDMalformed, "snap": InvalidSnapshotIDMalformed,
}  # fmt: skip


def checked_id(text: str, kind: str) -> str:
    """An id of the kind `i`, `ami` or `snap`. Raises the error for malformed ones."""
    found = _ID.fullmatch(text)
    if found is None or found[1] != kind:
        raise _MALFORMED[kind](f'Invalid id: "{text[:64]}" (expecting "{kind}-...")')
    return text


def kind_of_id(text: str) -> str:
    """`instance`, `image`, `snapshot`, or empty for what has no tags here."""
    found = _ID.fullmatch(text)
    return {"i": "instance", "ami": "image", "snap": "snapshot"}.get(found[1], "") if found else ""


def checked_image_name(name: str) -> str:
    """The name that an image may have. Raises InvalidAMINameMalformed."""
    if not _IMAGE_NAME.fullmatch(name):
        raise InvalidAMINameMalformed(
            "AMI names must be between 3 and 128 characters long, and may contain letters, numbers, '(', ')', '.', "
            "'-', '/', '_', spaces, brackets, @ and '"
        )
    return name


def checked_tags(tags: dict[str, str]) -> dict[str, str]:
    """Tags as EC2 takes them. Raises InvalidParameterValue."""
    for key, value in tags.items():
        if not key or len(key) > 127 or _NOT_IN_TAG.search(key):
            raise InvalidParameterValue("Tag keys have 1 to 127 characters, and no control characters.")
        if key.lower().startswith("aws:"):
            raise InvalidParameterValue("Tag keys starting with 'aws:' are reserved for internal use")
        if key.startswith(RESERVED) and key != NODE_TAG:
            raise InvalidParameterValue(f"Tag keys starting with '{RESERVED}' tell what this server knows itself.")
        if len(value) > 255:
            raise InvalidParameterValue("Tag values have 255 characters at most.")
    return tags


RESERVED: Final = "pilothouse:"
CONNECTION_TAG: Final = "pilothouse:connection"
"""The tag that tells where a machine is, and with CopyImage where the copy is to be."""
NODE_TAG: Final = "pilothouse:node"
"""The tag that names the node that the machine is."""
