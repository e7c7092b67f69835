"""What of a step's output goes into a reply (agent-protocol 5.9). The whole output stays on disk.

Limits are bytes; only the beginnings that can be needed are ever read into memory.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

STREAM_LIMIT = 24_000
COMBINED_LIMIT = 2_500

_STREAM_SUFFIX = b"--output truncated--"
_SEPARATOR = b"\n----------ERROR-------\n"
_OUTPUT_CUT = b"\n---Output truncated---"
_ERROR_CUT = b"\n---Error truncated----"


@dataclass(frozen=True, slots=True, kw_only=True)
class Streams:
    """The beginnings of both streams, one byte longer than any limit needs, so that a cut shows."""

    output: bytes
    error: bytes


def read(runs: Iterable[tuple[Path | None, str, str]]) -> Streams:
    """Both streams of a step: of each run its directory, None if nothing ran, and the agent's notes for both.

    Several runs are joined by newlines.
    """
    outputs, errors = [], []
    for directory, output_note, error_note in runs:
        outputs.append(_with_note(_head(directory, "stdout"), output_note))
        errors.append(_with_note(_head(directory, "stderr"), error_note))
    return Streams(output=_join(outputs), error=_join(errors))


def follow(path: Path, offset: int, chunk: int = 65_536) -> Iterator[tuple[int, bytes]]:
    """What was written to a stream file since offset, with the offset after each piece; for a running step."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        file.seek(offset)
        while data := file.read(chunk):
            offset += len(data)
            yield offset, data


def text(data: bytes, limit: int = STREAM_LIMIT) -> str:
    """At most limit bytes, marked when cut; bytes that are not UTF-8 become U+FFFD."""
    return _cut(data, limit, _STREAM_SUFFIX).decode("utf-8", "replace")


def combined(streams: Streams, limit: int = COMBINED_LIMIT) -> str:
    """stdout, a separator and stderr. What is cut says so; if both are long each gets half."""
    output, error = streams.output, streams.error
    separator = _SEPARATOR if error else b""
    space = limit - len(separator)
    if len(output) + len(error) > space:
        half = space // 2
        if len(output) <= half:
            error = _cut(error, space - len(output), _ERROR_CUT)
        elif len(error) <= half:
            output = _cut(output, space - len(error), _OUTPUT_CUT)
        else:
            output, error = _cut(output, half, _OUTPUT_CUT), _cut(error, half, _ERROR_CUT)
    return (output + separator + error).decode("utf-8", "replace")


def append(path: Path, note: str) -> None:
    """Add a note of the agent's to a stream, on a line of its own."""
    with path.open("a+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - 1, 0))
        gap = b"\n" if file.read(1) not in (b"", b"\n") else b""
        file.write(gap + note.encode() + b"\n")


def _head(directory: Path | None, stream: str) -> bytes:
    if directory is None:
        return b""
    try:
        with (directory / stream).open("rb") as file:
            return file.read(STREAM_LIMIT + 1)
    except FileNotFoundError:
        return b""


def _with_note(data: bytes, note: str) -> bytes:
    if not note:
        return data
    gap = b"\n" if data and not data.endswith(b"\n") else b""
    return data + gap + note.encode()


def _join(parts: list[bytes]) -> bytes:
    return b"\n".join(part for part in parts if part)


def _cut(data: bytes, limit: int, marker: bytes) -> bytes:
    return data if len(data) <= limit else data[: max(limit - len(marker), 0)] + marker
