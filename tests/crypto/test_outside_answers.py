"""Whatever answers in the place of a KMS or a transit engine: one sentence that says so, and no traceback."""

import json
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pilothouse.crypto import outside
from pilothouse.crypto.master_key import MasterKey, MasterKeyUnusable, find_master
from pilothouse.runtime.clock import TestClock
from pilothouse.runtime.settings import Settings
from tests.conftest import Server
from tests.crypto.test_refused_starts import files_of, refused, tables_of

AWS_KMS, TRANSIT = "aws-kms:some-key,endpoint={},region=us-east-1", "transit:{},key=pilothouse"


@dataclass
class Stranger:
    """Answers every request alike; without a body, as a place that keeps a key: it gives back what it was given."""

    status: int = 200
    body: bytes | None = b""
    headers: dict[str, str] = field(default_factory=dict)
    url: str = ""
    asked: int = 0


def echo(asked: bytes) -> bytes:
    """What is encrypted is its own ciphertext, in the forms of both services."""
    members = json.loads(asked)
    found = next(
        members[name] for name in ("Plaintext", "CiphertextBlob", "plaintext", "ciphertext") if name in members
    )
    return json.dumps(
        {"Plaintext": found, "CiphertextBlob": found, "data": {"plaintext": found, "ciphertext": found}}
    ).encode()


@pytest.fixture
def stranger() -> Iterator[Stranger]:
    told = Stranger()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.asked += 1
            asked = self.rfile.read(int(self.headers.get("content-length", 0)))
            body = echo(asked) if told.body is None else told.body
            self.send_response(told.status)
            for name, value in {"content-length": str(len(body)), **told.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    told.url = f"http://127.0.0.1:{server.server_port}"
    yield told
    server.shutdown()
    server.server_close()
    thread.join(10)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outside, "_WAITS", (0.01,))
    for name, value in (("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"), ("AWS_SECRET_ACCESS_KEY", "a secret nobody sees")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PILOTHOUSE_TRANSIT_TOKEN", "s.token-nobody-sees")


def key_at(setting: str, data: Path, url: str) -> MasterKey:
    found = find_master(data, setting.format(url), environment=os.environ)
    assert found is not None
    return found


STRANGE: tuple[tuple[int, bytes], ...] = (
    (200, b""),
    (200, b"{}"),
    (200, b"null"),
    (200, b"[]"),
    (200, b"<html>welcome</html>"),
    (200, b"\xff\xfe\x00"),
    (200, b"[" * 100_000),
    (200, b'{"data": null}'),
    (200, b'{"Plaintext": null, "CiphertextBlob": null, "data": {"plaintext": null, "ciphertext": null}}'),
    (200, b'{"Plaintext": 5, "CiphertextBlob": 5, "data": {"plaintext": 5, "ciphertext": 5}}'),
    (200, b'{"Plaintext": "%%%", "CiphertextBlob": "%%%", "data": {"plaintext": "%%%", "ciphertext": "\\u00ff"}}'),
    (200, b'{"Plaintext": "", "CiphertextBlob": "", "data": {"plaintext": "", "ciphertext": ""}}'),
    (200, b'{"Plaintext": "AAAA", "CiphertextBlob": "AAAA", "data": {"plaintext": "AAAA", "ciphertext": "AAAA"}}'),
    (301, b""),
    (302, b""),
    (400, b""),
    (400, b"{}"),
    (400, b"\xff"),
    (400, b'{"__type": "ValidationException", "message": "no"}'),
    (403, b'{"__type": "AccessDeniedException", "Message": "no"}'),
    (404, b"<html>no such page</html>"),
    (413, b""),
    (500, b"<html>sorry</html>"),
    (503, b"{"),
    (599, b"null"),
)


@pytest.mark.parametrize("setting", [AWS_KMS, TRANSIT], ids=["aws-kms", "transit"])
async def test_every_strange_answer_is_one_sentence(stranger: Stranger, setting: str, tmp_path: Path) -> None:
    key = key_at(setting, tmp_path, stranger.url)
    for stranger.status, stranger.body in STRANGE:
        stranger.headers = {"location": f"{stranger.url}/elsewhere"} if stranger.status in {301, 302} else {}
        if b'"AAAA"' in (stranger.body or b""):
            continue  # of the right form; only the ring can tell that it is no root key
        with pytest.raises(MasterKeyUnusable) as caught:
            await key.unwrap(b"vault:v1:AAAA", "a")
        said = str(caught.value)
        assert key.name in said
        assert said.isprintable()
        assert "nobody" not in said


@pytest.fixture(params=[AWS_KMS, TRANSIT], ids=["aws-kms", "transit"])
def settings(request: pytest.FixtureRequest, stranger: Stranger, database_url: str, tmp_path: Path) -> Settings:
    """Of an installation, not started yet, whose master key the stranger keeps."""
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    return Settings(
        data=data, database=database_url, http="127.0.0.1:0", https="127.0.0.1:0",
        master_key=request.param.format(stranger.url),
    )  # fmt: skip


def test_a_start_that_gets_strange_answers_changes_nothing(settings: Settings, stranger: Stranger) -> None:
    stranger.body = None
    Server(settings, TestClock()).close()
    before = files_of(settings.data), tables_of(settings.database)
    for stranger.status, stranger.body in STRANGE:
        said = refused(settings)
        assert stranger.url in said
        assert "nobody" not in said
    assert (files_of(settings.data), tables_of(settings.database)) == before
    stranger.status, stranger.body = 200, None
    Server(settings, TestClock()).close()


def test_a_first_start_that_gets_strange_answers_leaves_nothing(settings: Settings, stranger: Stranger) -> None:
    """Not even where the place takes the root key and would not give it back."""
    before = tables_of(settings.database)
    for stranger.status, stranger.body in STRANGE:
        assert stranger.url in refused(settings)
    assert (files_of(settings.data), tables_of(settings.database)) == ({}, before)


@pytest.mark.parametrize(
    "setting",
    [
        "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2U=",
        "file:c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2U=",
        "transit:https://me:c2VjcmV0@keeper.example,key=k",
        "aws-kms:alias/a,endpoint=https://me:c2VjcmV0@keeper.example,region=us-east-1",
    ],
)
def test_a_secret_in_the_setting_is_not_repeated(setting: str, tmp_path: Path) -> None:
    with pytest.raises(MasterKeyUnusable, match="master_key") as caught:
        find_master(tmp_path, setting, environment={})
    assert "c2VjcmV0" not in str(caught.value)
