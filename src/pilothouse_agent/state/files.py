"""Files of the state directory: private (0700 directories, 0600 files) and never half-written."""

import json
import os
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")


def make_private(directory: Path) -> Path:
    """Create the directory and its parents if missing; only its owner may look inside."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return directory


def write(path: Path, data: bytes, *, mode: int = 0o600, durable: bool = True) -> None:
    """Replace the file in one step. With durable it is on the disk when this returns.

    The temporary name is fixed: each file has one writer, and a leftover of a crash is overwritten.
    """
    fresh = path.with_name(path.name + ".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        if durable:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(fresh, path)
    if durable:
        sync_directory(path.parent)


def write_json(path: Path, value: object, *, durable: bool = True) -> None:
    """As write, for a JSON value."""
    write(path, json.dumps(value, separators=(",", ":")).encode(), durable=durable)


def read_json(path: Path) -> Any | None:
    """The file's JSON value; None if there is no file, or it is cut short (a crash before its first sync)."""
    try:
        return json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None


def known(kind: type[T], stored: Mapping[str, Any]) -> T:
    """A dataclass from its stored form. Members that a newer agent added are passed over: an update may be undone."""
    names = {member.name for member in fields(kind)}
    return kind(**{name: value for name, value in stored.items() if name in names})


def sync_directory(directory: Path) -> None:
    """Make names created in or removed from the directory durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
