"""AWS:File and Custom:*: files that fit filters, and what others left in the custom inventory directory."""

import fnmatch
import json
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pilothouse_agent.plugins.inventory import Entry

MOST_FILES = 500
_MOST_DIRECTORIES = 5_000
_CUSTOM_TYPES = 20
_ATTRIBUTES = 50
_NAME, _VALUE, _TYPE = 64, 4_096, 100
_VERSION = re.compile(r"[0-9]{1,6}\.[0-9]{1,6}\Z")


class BadFilter(Exception):
    """The filters cannot be read, or find too much."""


def files(filters: str) -> list[Entry]:
    """JSON: a list of {Path, Pattern: [..], Recursive, DirScanLimit}. Raises BadFilter."""
    try:
        given = json.loads(filters.replace("\\", "/"))
    except ValueError as error:
        raise BadFilter("files is no JSON") from error
    if not isinstance(given, list) or not all(isinstance(one, dict) for one in given):
        raise BadFilter("files is no list of objects")
    paths: dict[str, None] = {}
    for one in given:
        patterns = one.get("Pattern")
        if not isinstance(one.get("Path"), str) or not isinstance(patterns, list):
            raise BadFilter("a filter of files needs Path and Pattern")
        limit = one.get("DirScanLimit")
        directory = Path(os.path.expandvars(one["Path"]))
        for path in _scan(
            directory, one.get("Recursive") is True, limit if isinstance(limit, int) else _MOST_DIRECTORIES
        ):
            if any(fnmatch.fnmatchcase(path.name, str(pattern)) for pattern in patterns):
                paths[str(path)] = None
                if len(paths) > MOST_FILES:
                    raise BadFilter("File Count Limit Exceeded")
    return [entry for path in paths for entry in _facts(Path(path))]


def _scan(directory: Path, recursive: bool, most: int) -> Iterator[Path]:
    for number, (where, directories, names) in enumerate(os.walk(directory), 1):
        if number > most:
            raise BadFilter("Directory Scan Limit Exceeded")
        directories.sort()
        for name in sorted(names):
            yield Path(where, name)
        if not recursive:
            return


def _facts(path: Path) -> list[Entry]:
    try:
        found = path.stat()
    except OSError:
        return []  # it went while we looked, or is a link to nowhere
    return [
        {
            "Name": path.name,
            "Size": str(found.st_size),
            "ModificationTime": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(found.st_mtime)),
            "InstalledDir": str(path.parent),
        }
    ]


def custom(directory: Path) -> dict[tuple[str, str], list[Entry]]:
    """Type and schema version to entries, of each good file in the directory; bad ones are named on stderr."""
    found: dict[tuple[str, str], list[Entry]] = {}
    for path in sorted(directory.glob("*.json")):
        try:
            kind, entries = _custom_of(json.loads(path.read_text()))
        except (OSError, ValueError) as error:
            print(f"{path}: {error}", file=sys.stderr)
            continue
        if any(known[0] == kind[0] for known in found) or len(found) == _CUSTOM_TYPES:
            print(
                f"{path}: the type {kind[0]} is there already, or there are more than {_CUSTOM_TYPES}", file=sys.stderr
            )
            continue
        found[kind] = entries
    return found


def _custom_of(value: Any) -> tuple[tuple[str, str], list[Entry]]:
    """Raises ValueError."""
    if not isinstance(value, dict):
        raise ValueError("no JSON object")
    kind, version, content = value.get("TypeName"), value.get("SchemaVersion"), value.get("Content")
    if not isinstance(kind, str) or not kind.startswith("Custom:") or len(kind) > _TYPE:
        raise ValueError("TypeName must begin with Custom: and have at most 100 characters")
    if not isinstance(version, str) or not _VERSION.match(version):
        raise ValueError("SchemaVersion must look like 1.0")
    entries: list[Any] = content if isinstance(content, list) else [content]
    for entry in entries:
        if not isinstance(entry, dict) or not 0 < len(entry) <= _ATTRIBUTES:
            raise ValueError(f"Content must be objects of at most {_ATTRIBUTES} attributes")
        if not all(
            isinstance(item, str) and len(item) <= _VALUE and 0 < len(name) <= _NAME for name, item in entry.items()
        ):
            raise ValueError(f"attributes must be texts of at most {_VALUE} characters, names of at most {_NAME}")
    return (kind, version), entries
