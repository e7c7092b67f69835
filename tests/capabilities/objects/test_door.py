"""The door for other capabilities: contents kept before a transaction and placed in it, streams, URLs."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from urllib.request import Request as Asked

import pytest

from pilothouse.capabilities import objects
from tests.conftest import Server


async def _pieces(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def _placed(server: Server, account: str, bucket: str, key: str, *parts: bytes) -> None:
    house = server.application.house
    kept = await objects.keep(house, account, bucket, key, _pieces(*parts), content_type="text/plain")
    async with house.database.transaction() as tx:
        await objects.place(tx, kept)


async def _read(server: Server, account: str, bucket: str, key: str, **span: Any) -> bytes:
    house = server.application.house
    async with house.database.reading() as tx:
        opened = await objects.open_object(house, tx, account, bucket, key, **span)
    found = b"".join([piece async for piece in opened.pieces])
    assert len(found) == opened.size
    return found


def test_a_capability_keeps_what_clients_get(s3: Any, server: Server):
    account = server.application.root.account_id
    house = server.application.house
    parts = [b"line of output\n" * 1000] * 20

    async def made() -> None:
        async with house.database.transaction() as tx:
            await objects.ensure_bucket(house, tx, account, "eu-west-1", "outputs")
        async with house.database.transaction() as tx:
            await objects.ensure_bucket(house, tx, account, "eu-west-1", "outputs")
        await _placed(server, account, "outputs", "c/stdout", *parts)
        await _placed(server, account, "outputs", "c/stderr", b"oh")

    server.run(made())
    got = s3.get_object(Bucket="outputs", Key="c/stdout")
    assert got["Body"].read() == b"".join(parts)
    assert got["ContentType"] == "text/plain"
    assert server.run(_read(server, account, "outputs", "c/stdout", start=5, end=21)) == b"".join(parts)[5:21]
    assert server.run(_read(server, account, "outputs", "c/stderr")) == b"oh"
    with pytest.raises(objects.NoSuchKey):
        server.run(_read(server, account, "outputs", "c/nothing"))
    with pytest.raises(objects.NoSuchBucket):  # another account's is as if it were not there
        server.run(_read(server, "999999999999", "outputs", "c/stdout"))
    with pytest.raises(objects.NoSuchBucket):
        server.run(_placed(server, "999999999999", "outputs", "c/stdout", b"x"))

    async def removed() -> None:
        async with house.database.transaction() as tx:
            await objects.delete(house, tx, account, "outputs", "c/stderr")
            await objects.delete(house, tx, account, "outputs", "c/never-there")

    server.run(removed())
    assert [each["Key"] for each in s3.list_objects_v2(Bucket="outputs")["Contents"]] == ["c/stdout"]


def test_a_url_opens_one_object_for_a_while(s3: Any, bucket: str, server: Server):
    s3.put_object(Bucket=bucket, Key="a/ü b+c", Body=b"text")
    root = server.application.root

    def status(seconds: int, at: datetime, key: str = "a/ü b+c") -> int:
        url = objects.presigned(
            "http://pilothouse.test", root.access_key_id, root.secret, "eu-west-1", bucket, key, now=at, seconds=seconds
        )
        asked = Asked(url)
        answer = server.answer(_Prepared(asked.full_url))
        return int(answer.status_code)

    now = datetime.now(UTC)
    assert status(60, now) == 200
    assert status(60, now, "a/nothing") == 404
    assert status(60, now.replace(year=now.year - 1)) == 403


class _Prepared:
    """A GET as `Server.answer` takes requests."""

    method = "GET"
    body = b""

    def __init__(self, url: str) -> None:
        self.url = url
        self.headers: dict[str, str] = {}
