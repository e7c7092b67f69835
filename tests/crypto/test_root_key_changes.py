"""A new root key, as clients see it: tokens made before go on to count, and other processes read what lies under it."""

import asyncio
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

import pilothouse.wire
from pilothouse.app import opened_ring, sealed_in_the_house
from pilothouse.capabilities import access
from pilothouse.crypto.kept import KEPT, kept_under
from pilothouse.crypto.master_key import LocalKey, read_key
from pilothouse.crypto.ring import add_version
from pilothouse.crypto.rotation import change_steps, finish_steps, next_local_key, place_local_key, retire
from pilothouse.runtime.clock import TestClock
from pilothouse.runtime.ids import Ids
from pilothouse.runtime.settings import OutboundSettings, Settings
from tests.capabilities.nodes.test_life_of_a_node import Machine
from tests.conftest import Server


class StandingClock(TestClock):
    """Of a process whose periodic looks at the ring do not come to pass."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.Event().wait()


@pytest.fixture
def server(database_url: str, tmp_path: Path, clock: TestClock) -> Iterator[Server]:
    """Its clock is moved without making requests too old."""
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    settings = Settings(
        data=data, database=database_url, skew_seconds=30 * 86_400, outbound=OutboundSettings(allow=("127.0.0.1/32",))
    )
    opened = Server(settings, clock)
    try:
        yield opened
    finally:
        opened.close()


@pytest.fixture
def second(server: Server, tmp_path: Path) -> Iterator[Server]:
    """Another process on the same database, with the same master key, that knows the first root key alone."""
    data = tmp_path / "second"
    data.mkdir(mode=0o700)
    (data / "master.key").touch(0o600)
    (data / "master.key").write_bytes((server.settings.data / "master.key").read_bytes())
    opened = Server(replace(server.settings, data=data), StandingClock())
    try:
        yield opened
    finally:
        opened.close()


def client(server: Server, service: str, key: Any = None) -> Any:
    """A boto3 client that the server answers."""
    key = key or server.application.root
    session = boto3.Session()
    session._loader.search_paths.append(str(Path(pilothouse.wire.__path__[0]) / "own-models"))
    made = session.client(
        service, region_name="eu-west-1", endpoint_url="http://pilothouse.test", aws_access_key_id=key.access_key_id,
        aws_secret_access_key=key.secret, config=Config(retries={"max_attempts": 1}),
    )  # fmt: skip
    made.meta.events.register(f"before-send.{service}", server.answer)
    return made


def change_root_key(server: Server, *, master_key_too: bool = False) -> int:
    """As the commands do it beside the server, and the time until the server uses it."""

    async def work() -> int:
        async with opened_ring(server.settings, create=False, clock=server.clock) as ring:
            data = server.settings.data
            if master_key_too:
                place = next_local_key(data)
                for _, step in change_steps(ring, data, place, lambda: place_local_key(data), keep_old=False):
                    await step()
            return await add_version(ring, Ids())

    version = server.run(work())
    vault = server.application.house.vault
    server.advance(seconds=31)
    end = time.monotonic() + 30
    while vault.settled != version:
        assert time.monotonic() < end, "the server does not use the new root key"
        time.sleep(0.02)
    return version


def under(server: Server, version: int) -> set[str]:
    """The columns that hold something sealed under the version."""
    from pilothouse.crypto.resealing import lying_under

    async def look() -> set[str]:
        async with server.application.house.database.reading() as tx:
            return {each.name for each in sealed_in_the_house() if await lying_under(tx, (each,), version)}

    return server.run(look())


def test_another_process_reads_what_lies_under_a_root_key_it_does_not_know_yet(
    server: Server, second: Server, machine: Machine
) -> None:
    requests: list[Any] = []

    def activation() -> Callable[[], Any]:
        made = client(server, "ssm").create_activation(IamRole="role")
        machine.register(made)
        machine.fetch_token()
        machine._server = second
        return lambda: machine.ping()[0] == 200

    def parameter() -> Callable[[], Any]:
        client(server, "ssm").put_parameter(Name="/a", Value="a secret", Type="SecureString")
        there = client(second, "ssm")
        return lambda: there.get_parameter(Name="/a", WithDecryption=True)["Parameter"]["Value"] == "a secret"

    def key() -> Callable[[], Any]:
        kms = client(server, "kms")
        blob = kms.encrypt(KeyId=kms.create_key()["KeyMetadata"]["KeyId"], Plaintext=b"x")["CiphertextBlob"]
        return lambda: client(second, "kms").decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"

    def credentials() -> Callable[[], Any]:
        made = server.run(access.create_account(server.application.house, "other"))
        return lambda: client(second, "sts", made).get_caller_identity()["Account"] == made.account_id

    def webhook() -> Callable[[], Any]:
        made = client(server, "pilothouse").create_webhook(Url="http://127.0.0.1:9/")
        there = client(second, "pilothouse")
        return lambda: "secret" not in there.test_webhook(WebhookId=made["WebhookId"])["Error"]

    def retried() -> Callable[[], Any]:
        ssm = client(server, "ssm")
        ssm.meta.events.register_first("before-send.ssm", lambda request, **_: requests.append(request))
        ssm.put_parameter(Name="/once", Value="x", Type="String")
        return lambda: b'"Version":1' in second.answer(requests[0]).content.replace(b" ", b"")

    columns = set()
    for make in (activation, parameter, key, credentials, webhook, retried):
        version = change_root_key(server)
        read = make()
        assert second.application.house.vault.newest < version
        columns |= under(server, version)
        assert read(), make.__name__
        assert second.application.house.vault.newest == version, make.__name__
    assert columns >= {"kms_material.wrapped", "access_key.secret_sealed", "replayed_call.sealed_body"}
    assert any("webhook" in name for name in columns)


def test_what_clients_hold_from_before_goes_on_to_count(server: Server, machine: Machine) -> None:
    ssm, kms = client(server, "ssm"), client(server, "kms")
    for number in range(23):
        ssm.put_parameter(Name=f"/p/{number:02}", Value=f"value {number}", Type="SecureString")
    machine.register(ssm.create_activation(IamRole="role"))
    assert machine.fetch_token()[0] == 200
    keys = [kms.create_key()["KeyMetadata"]["KeyId"] for _ in range(3)]
    role = "arn:aws:iam::123456789012:role/app"
    grant = kms.create_grant(KeyId=keys[0], GranteePrincipal=role, Operations=["Decrypt"])
    marker = kms.list_keys(Limit=1)["NextMarker"]
    imported = kms.create_key(Origin="EXTERNAL")["KeyMetadata"]["KeyId"]
    token = kms.get_parameters_for_import(
        KeyId=imported, WrappingAlgorithm="RSAES_OAEP_SHA_256", WrappingKeySpec="RSA_2048"
    )

    pages = ssm.get_paginator("get_parameters_by_path").paginate(Path="/p", WithDecryption=True)
    found = []
    for page in pages:
        found += [each["Value"] for each in page["Parameters"]]
        change_root_key(server, master_key_too=True)
    assert found == [f"value {number}" for number in range(23)]

    async def retired() -> bool:
        async with opened_ring(server.settings, create=False, clock=server.clock) as ring:
            return await retire(ring, (), 1, now=False)

    server.advance(minutes=2)
    assert not server.run(retired())
    server.advance(seconds=6)
    assert machine.ping()[0] == 200
    assert len(kms.list_keys(Limit=10, Marker=marker)["Keys"]) >= 2
    kms.retire_grant(GrantToken=grant["GrantToken"])
    with pytest.raises(ClientError) as caught:  # the token is taken; what comes with it is not
        kms.import_key_material(
            KeyId=imported, ImportToken=token["ImportToken"], EncryptedKeyMaterial=b"x" * 256,
            ExpirationModel="KEY_MATERIAL_DOES_NOT_EXPIRE",
        )  # fmt: skip
    assert caught.value.response["Error"]["Code"] != "InvalidImportTokenException"


@pytest.fixture
def machine(server: Server) -> Machine:
    """One with a key of its own, not yet a node."""
    return Machine(server, generate_private_key(65537, 2048))


def test_a_server_follows_a_master_key_that_was_changed_beside_another(server: Server, tmp_path: Path) -> None:
    data = tmp_path / "other"
    data.mkdir(mode=0o700)
    shutil.copy2(server.settings.data / "master.key", data)
    other = Server(replace(server.settings, data=data), TestClock())
    old, root = read_key(data / "master.key"), other.application.root

    async def rotate(*, finish: bool) -> None:
        async with opened_ring(server.settings, create=True, clock=server.clock) as ring:
            steps = finish_steps(ring, server.settings.data, ring.master)
            if not finish:
                place, made = server.settings.data, next_local_key(server.settings.data)
                steps = change_steps(ring, place, made, lambda: place_local_key(place), keep_old=True)
            for _, step in steps:
                await step()

    def followed(*masters: LocalKey) -> None:
        wanted = {each.fingerprint for each in masters}
        end = time.monotonic() + 30
        while not all(kept_under(data / name) == wanted for name in KEPT):
            assert time.monotonic() < end, "the other server does not follow"
            other.advance(seconds=5)
            time.sleep(0.02)

    try:
        server.run(rotate(finish=False))
        shutil.copy2(server.settings.data / "master.key", data)
        new = read_key(data / "master.key")
        followed(old, new)
        server.run(rotate(finish=True))
        followed(new)
    finally:
        other.close()
    again = Server(replace(server.settings, data=data), TestClock())
    assert again.application.root == root
    again.close()
