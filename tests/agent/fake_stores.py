"""An object store and log groups for the fake server: what an agent uses of them, and their limits."""

import base64
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote
from xml.sax.saxutils import escape


@dataclass
class Objects:
    """Objects by bucket and key; buckets are whatever is asked for."""

    stored: dict[tuple[str, str], bytes] = field(default_factory=dict)
    failures: int = 0
    """So many requests are answered with 503 first."""
    refused: bool = False
    page: int = 2

    def answer(self, method: str, target: str, headers: dict[str, str], body: bytes) -> tuple[int, str, bytes]:
        if self.failures:
            self.failures -= 1
            return 503, "application/xml", b"<Error><Code>SlowDown</Code><Message>Not now.</Message></Error>"
        if self.refused:
            return 403, "application/xml", b"<Error><Code>AccessDenied</Code><Message>Not you.</Message></Error>"
        path, _, query = target.partition("?")
        bucket, _, key = unquote(path).lstrip("/").partition("/")
        if method == "PUT":
            self.stored[bucket, key] = body
            return 200, "application/xml", b""
        if not key:
            return 200, "application/xml", self._list(bucket, parse_qs(query))
        if (bucket, key) not in self.stored:
            return 404, "application/xml", b"<Error><Code>NoSuchKey</Code><Message>It is not there.</Message></Error>"
        return 200, "binary/octet-stream", self.stored[bucket, key]

    def _list(self, bucket: str, query: dict[str, list[str]]) -> bytes:
        after = query.get("continuation-token", [""])[0]
        prefix = query.get("prefix", [""])[0]
        keys = sorted(key for where, key in self.stored if where == bucket and key.startswith(prefix) and key > after)
        shown, more = keys[: self.page], len(keys) > self.page
        entries = "".join(f"<Contents><Key>{escape(key)}</Key></Contents>" for key in shown)
        token = f"<NextContinuationToken>{escape(shown[-1])}</NextContinuationToken>" if more else ""
        return (
            '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<IsTruncated>{str(more).lower()}</IsTruncated>{entries}{token}</ListBucketResult>"
        ).encode()


@dataclass
class LogGroups:
    """Log events by group and stream."""

    streams: dict[tuple[str, str], list[dict[str, Any]]] = field(default_factory=dict)
    groups: set[str] = field(default_factory=set)
    batches: list[int] = field(default_factory=list)
    failures: int = 0

    def answer(self, operation: str, request: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """Error code, or none, and the answer."""
        if self.failures:
            self.failures -= 1
            return "ServiceUnavailableException", {}
        group, stream = request.get("logGroupName", ""), request.get("logStreamName", "")
        if operation == "CreateLogGroup":
            if group in self.groups:
                return "ResourceAlreadyExistsException", {}
            self.groups.add(group)
        elif operation == "CreateLogStream":
            if group not in self.groups:
                return "ResourceNotFoundException", {}
            if (group, stream) in self.streams:
                return "ResourceAlreadyExistsException", {}
            self.streams[group, stream] = []
        elif operation == "PutLogEvents":
            if (group, stream) not in self.streams:
                return "ResourceNotFoundException", {}
            events = request["logEvents"]
            sizes = [len(event["message"].encode()) + 26 for event in events]
            times = [event["timestamp"] for event in events]
            if not 1 <= len(events) <= 10_000 or sum(sizes) > 1_048_576 or max(sizes) > 262_144 or min(sizes) == 26:
                return "InvalidParameterException", {}
            if times != sorted(times):
                return "InvalidParameterException", {}
            self.batches.append(sum(sizes))
            self.streams[group, stream] += events
            return "", {"nextSequenceToken": "1"}
        else:
            return "UnknownOperationException", {}
        return "", {}

    def text(self, stream: str) -> str:
        """All lines of the stream with that name's end."""
        (found,) = [events for (_, name), events in self.streams.items() if name.endswith(stream)]
        return "\n".join(event["message"] for event in found)


@dataclass
class LiveStreams:
    """What came of streams while they grew. The rules of the protocol are checked."""

    chunk: int = 1_000
    window: int = 4_000
    silent: bool = False
    """Take everything and acknowledge nothing."""
    stop: bool = False
    lose: set[int] = field(default_factory=set)
    """Numbers of messages that get lost, counted from 1."""
    messages: int = 0
    came: dict[tuple[str, str, int, str], bytearray] = field(default_factory=dict)
    ended: set[tuple[str, str, int, str]] = field(default_factory=set)
    bytes_received: int = 0
    wrong: list[str] = field(default_factory=list)

    @property
    def offer(self) -> dict[str, int]:
        return {"version": 1, "chunk": self.chunk, "window": self.window}

    def answers(self, message: dict[str, Any]) -> Iterator[dict[str, Any]]:
        self.messages += 1
        if self.messages in self.lose:
            return
        key = (message["jobId"], message["step"], message["run"], message["stream"])
        data = base64.b64decode(message["data"], validate=True)
        known = self.came.setdefault(key, bytearray())
        self.bytes_received += len(data)
        if len(data) > self.chunk:
            self.wrong.append(f"a chunk of {len(data)} bytes")
        if message["offset"] + len(data) > len(known) + self.window:
            self.wrong.append("more than the window")
        if message["offset"] == len(known):
            known += data
            if message["end"]:
                self.ended.add(key)
        if self.silent:
            return
        end = key in self.ended
        yield {**dict(zip(("jobId", "step", "run", "stream"), key, strict=True)), "offset": len(known), "end": end,
               "stop": self.stop}  # fmt: skip

    def text(self, stream: str) -> str:
        """What came of the one stream of that name."""
        (found,) = [bytes(data) for key, data in self.came.items() if key[3] == stream]
        return found.decode()
