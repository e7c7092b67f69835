"""Files over sessions: there and back, resumed, refused, and never outside of the path."""

import base64
import hashlib
import json
import os
import pwd
import struct
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.agent.conftest import Agent, node_for_sessions
from tests.agent.fake_server import FakeServer
from tests.agent.fake_sessions import OURS, FakeSession

FILES: dict[str, Any] = {**OURS, "Extensions": {"chunk": 16384, "file": 1}}
NOTHING = hashlib.sha256(b"").hexdigest()


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node(certificates: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Agent]:
    async with node_for_sessions(certificates, tmp_path_factory.mktemp("node")) as made:
        yield made


@pytest.fixture
def server(node: Agent) -> FakeServer:
    return node.server


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass
class Client:
    """The client's end, by hand."""

    server: FakeServer
    session: FakeSession
    answers: list[dict[str, Any]] = field(default_factory=list)
    data: bytearray = field(default_factory=bytearray)
    at: int = 0

    @classmethod
    async def open(cls, server: FakeServer, node: Agent, operation: str, path: Path | str, **given: Any) -> "Client":
        document = {
            "sessionType": "Pilothouse_File",
            "properties": {"operation": operation, "path": "{{ path }}", **given.pop("properties", {})},
            **given.pop("document", {}),
        }
        session = await server.start_session(
            node.instance_id, document, {"path": str(path)}, **{"client": FILES, **given}
        )
        made = cls(server, session)
        session.on_output = made._receive
        return made

    def _receive(self, data: bytes) -> None:
        if data[:1] == b"J":
            self.answers.append(json.loads(data[1:]))
        else:
            assert data[:1] == b"D"
            (offset,) = struct.unpack_from(">Q", data, 1)
            assert offset == self.at
            self.data += data[9:]
            self.at += len(data) - 9

    async def say(self, **request: Any) -> None:
        await self.session.shaken()
        await self.session.send(1, b"J" + json.dumps(request).encode())

    async def ask(self, **request: Any) -> dict[str, Any]:
        before = len(self.answers)
        await self.say(**request)
        return await self.answer(before)

    async def answer(self, number: int) -> dict[str, Any]:
        await self.session.until(lambda: len(self.answers) > number, "an answer", 30)
        return self.answers[number]

    async def code(self, **request: Any) -> str:
        return str((await self.ask(**request))["error"]["code"])

    async def get(self, name: str = "", have: bytes = b"") -> dict[str, Any]:
        """The last answer; the content is in data."""
        self.data, self.at, before = bytearray(), 0, len(self.answers)
        await self.say(do="get", name=name, offset=len(have), sha256=sha256(have))
        begin = await self.answer(before)
        if "begin" not in begin:
            return begin
        return await self.answer(before + 1)

    async def send(self, data: bytes, start: int, end: int) -> None:
        for offset in range(start, end, 16_000):
            piece = data[offset : min(offset + 16_000, end)]
            await self.session.send_all(1, b"D" + struct.pack(">Q", offset) + piece)

    async def put(self, data: bytes, name: str = "", **more: Any) -> dict[str, Any]:
        request = {"do": "put", "name": name, "size": len(data), "sha256": sha256(data), "mode": 0o644, **more}
        begin = await self.ask(**request)
        if "begin" not in begin:
            return begin
        offset = begin["begin"]["offset"]
        if sha256(data[:offset]) != begin["begin"]["sha256"]:
            offset = 0
        before = len(self.answers)
        await self.say(go={"offset": offset})
        await self.send(data, offset, len(data))
        return await self.answer(before)

    async def end(self) -> None:
        assert await self.ask(do="end") == {"done": {}}
        assert (await self.server.completion(self.session))["FinalTaskStatus"] == "Success"


async def test_a_file_goes_there_and_back(server: FakeServer, node: Agent, tmp_path: Path) -> None:
    content = os.urandom(1_500_000)
    target = tmp_path / "target ä"
    client = await Client.open(server, node, "put", target)
    assert await client.put(content, mode=0o640, modified=1_700_000_000_123) == {
        "done": {"size": len(content), "sha256": sha256(content)}
    }
    await client.end()
    assert client.session.request["Extensions"]["file"] == 1
    assert target.read_bytes() == content
    assert target.stat().st_mode & 0o7777 == 0o640
    assert target.stat().st_mtime_ns == 1_700_000_000_123_000_000
    assert {path.name for path in tmp_path.iterdir()} >= {"target ä"}
    assert not list(tmp_path.glob(".*part"))

    client = await Client.open(server, node, "get", target)
    assert await client.get() == {"end": {"size": len(content), "sha256": sha256(content)}}
    assert client.data == content
    client.data.clear()
    client.at = 1_000_000
    await client.say(do="get", name="", offset=1_000_000, sha256=sha256(content[:1_000_000]))
    assert (await client.answer(2))["begin"] == {
        "offset": 1_000_000, "size": len(content), "mode": 0o640, "modified": 1_700_000_000_123,
    }  # fmt: skip
    assert (await client.answer(3))["end"]["sha256"] == sha256(content)
    assert client.data == content[1_000_000:]
    assert (await client.get(have=b"something else"))["end"]["size"] == len(content)
    assert client.data == content
    assert (await client.ask(do="stat", name=""))["entry"]["kind"] == "file"
    await client.end()


async def test_a_transfer_that_broke_off_goes_on(server: FakeServer, node: Agent, tmp_path: Path) -> None:
    content = os.urandom(900_000)
    target = tmp_path / "big"
    target.write_bytes(b"the old one")
    client = await Client.open(server, node, "put", target)
    begin = await client.ask(do="put", name="", size=len(content), sha256=sha256(content), mode=0o600)
    assert begin == {"begin": {"offset": 0, "sha256": NOTHING}}
    await client.say(go={"offset": 0})
    await client.send(content, 0, 480_000)
    client.session.cut()  # a cut alone is no end
    await client.session.connected(2)
    await client.session.until(lambda: client.session.in_flight == 0, "acknowledgements")
    other = await Client.open(server, node, "put", target)
    assert await other.code(do="put", name="", size=len(content), sha256=sha256(content)) == "EBUSY"
    await client.session.close()
    await server.completion(client.session)
    assert target.read_bytes() == b"the old one"
    (part,) = tmp_path.glob(".big.*.part")
    assert part.stat().st_mode & 0o777 == 0o600

    begin = await other.ask(do="put", name="", size=len(content), sha256=sha256(content), mode=0o600)
    offset = begin["begin"]["offset"]
    assert 0 < offset <= 480_000
    assert begin["begin"]["sha256"] == sha256(content[:offset])
    await other.say(go={"offset": offset})
    await other.send(content, offset, len(content))
    assert "done" in await other.answer(2)
    assert target.read_bytes() == content
    assert not part.exists()

    wrong = {"do": "put", "name": "", "size": 4, "sha256": sha256(b"good"), "mode": 0o600}
    await other.ask(**wrong)
    await other.say(go={"offset": 0})
    await other.send(b"evil", 0, 4)
    assert (await other.answer(4))["error"]["code"] == "EBADMSG"
    assert target.read_bytes() == content
    assert not list(tmp_path.glob(".big.*.part"))


async def test_trees(server: FakeServer, node: Agent, tmp_path: Path) -> None:
    root = tmp_path / "tree"
    put = await Client.open(server, node, "put", root)
    assert await put.ask(do="make", name="", mode=0o755) == {"done": {}}
    assert await put.ask(do="make", name="", mode=0o755) == {"done": {}}
    assert await put.ask(do="make", name="sub", mode=0o750) == {"done": {}}
    for name in ("a", "sub/b", "sub/empty"):
        assert "done" in await put.put(b"" if name.endswith("empty") else name.encode() * 10_000, name)
    assert await put.code(do="put", name="sub", size=0, sha256=NOTHING) == "EISDIR"
    assert await put.code(do="get", name="a", offset=0, sha256=NOTHING) == "EPROTO"
    await put.end()
    (root / "link").symlink_to("/etc/passwd")
    os.mkfifo(root / "pipe")
    get = await Client.open(server, node, "get", root)
    await get.say(do="list", name="")
    await get.session.until(lambda: any("done" in each for each in get.answers), "the list")
    entries = list(get.answers)
    assert [(each["entry"]["name"], each["entry"]["kind"]) for each in entries[:-1]] == [
        ("a", "file"), ("link", "link"), ("pipe", "other"), ("sub", "directory"),
    ]  # fmt: skip
    assert entries[-1] == {"done": {"count": 4}}
    get.answers.clear()
    assert "end" in await get.get("sub/b")
    assert get.data == b"sub/b" * 10_000
    assert (await get.ask(do="stat", name="sub"))["entry"]["mode"] == 0o750
    for name, code in {
        "link": "ELOOP", "link/x": "ELOOP", "pipe": "EINVAL", "sub": "EISDIR", "none": "ENOENT", "../x": "EPROTO",
        "/etc/passwd": "EPROTO", "sub//b": "EPROTO", "./a": "EPROTO", "a/b": "ENOTDIR", "nul\0": "EPROTO",
        "\ud800": "EPROTO",
    }.items():  # fmt: skip
        assert (await get.get(name))["error"]["code"] == code, name
    assert await get.code(do="make", name="x", mode=0o755) == "EPROTO"
    assert await get.code(do="get", name=7) == "EPROTO"
    assert await get.code(do="get", name="a", offset=-1) == "EPROTO"
    assert await get.code() == "EPROTO"
    await get.session.send(1, b"D")
    await get.session.send(1, b"junk")
    assert "end" in await get.get("a")


async def test_links_below_the_path_are_never_followed(server: FakeServer, node: Agent, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    root = tmp_path / "root"
    root.mkdir()
    (root / "dir").symlink_to(outside)
    (root / "file").symlink_to(outside / "file")
    (tmp_path / "way").symlink_to(root)  # links in the path itself are the caller's wish
    client = await Client.open(server, node, "put", tmp_path / "way")
    assert (await client.put(b"x", "dir/x"))["error"]["code"] == "ELOOP"
    assert await client.code(do="make", name="dir/sub", mode=0o755) == "ELOOP"
    assert "done" in await client.put(b"mine", "file")  # takes the link's place
    assert (root / "file").read_bytes() == b"mine"
    assert not list(outside.iterdir())
    name = f".planted.{sha256(b'mine')[:16]}.part"
    (root / name).symlink_to(outside / "planted")
    assert (await client.put(b"mine", "planted"))["error"]["code"] == "ELOOP"
    assert not list(outside.iterdir())


async def test_what_is_no_file_session_fails(server: FakeServer, node: Agent, tmp_path: Path) -> None:
    for more, reason in (
        ({"properties": {"operation": "erase"}}, "get or put"),
        ({"properties": {"path": ""}}, "path"),
        ({"client": OURS}, "does not take files"),
    ):
        client = await Client.open(server, node, "get", tmp_path, **more)
        completion = await server.completion(client.session)
        assert completion["FinalTaskStatus"] == "Failed"
        assert reason in completion["Output"]


@pytest.fixture
def user() -> Iterator[str]:
    name = "ph-test-files"
    subprocess.run(["useradd", "-m", name], check=True, capture_output=True)
    yield name
    subprocess.run(["userdel", "-r", name], check=True, capture_output=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it changes users")
async def test_files_are_those_of_the_user(server: FakeServer, node: Agent, user: str) -> None:
    run_as = {"document": {"inputs": {"runAsEnabled": True}}, "RunAsUser": user}
    client = await Client.open(server, node, "put", "~/made", **run_as)
    assert "done" in await client.put(b"hello")
    made = Path(pwd.getpwnam(user).pw_dir) / "made"
    assert (made.read_bytes(), made.owner()) == (b"hello", user)
    await client.end()
    client = await Client.open(server, node, "get", node.state / "credentials", **run_as)
    assert (await client.get())["error"]["code"] == "EACCES"
    await client.end()
    client = await Client.open(server, node, "put", "/etc/pilothouse-test", **run_as)
    assert (await client.put(b"hello"))["error"]["code"] == "EACCES"
    await client.end()


async def test_an_encrypted_transfer(server: FakeServer, node: Agent, tmp_path: Path) -> None:
    key, wrapped = os.urandom(64), base64.b64encode(os.urandom(40)).decode()
    session_id = "alice-00000000000000001"
    server.keys[wrapped] = (key, {"aws:ssm:SessionId": session_id, "aws:ssm:TargetId": node.instance_id})
    client = await Client.open(
        server, node, "put", tmp_path / "x", session_id=session_id, wrapped=wrapped,
        document={"inputs": {"kmsKeyId": "k"}},
    )  # fmt: skip
    client.session.pending_keys = (AESGCM(key[:32]), AESGCM(key[32:]))
    assert "done" in await client.put(b"secret" * 10_000)
    assert (tmp_path / "x").read_bytes() == b"secret" * 10_000
    assert all(b"sha256" not in data for _, data in client.session.payloads)
