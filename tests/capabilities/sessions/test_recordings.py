"""What is recorded, when, and who may read it."""

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import pytest

from pilothouse.capabilities.sessions import delivering, recordings, streaming
from pilothouse.storage import StorageUnavailable
from tests.capabilities.sessions.conftest import World
from tests.capabilities.sessions.test_permissions import OPEN, refused, user
from tests.capabilities.sessions.test_terminals import Page, driven
from tests.capabilities.sessions.test_timers import preferences
from tests.gateway.scripted_session import SIZE


@pytest.fixture
def own(world: World) -> Any:
    return world.aws("pilothouse")


def setting(world: World, name: str, value: str) -> None:
    """Change a service setting for this test."""
    world.ssm.update_service_setting(SettingId=f"/ph/sessions/{name}", SettingValue=value)
    world.undo.append(lambda: world.ssm.reset_service_setting(SettingId=f"/ph/sessions/{name}"))


def file_of(own: Any, session_id: str, most: int = 1 << 20) -> tuple[bytes, dict[str, Any]]:
    """The whole asciicast, and the last page."""
    offset, lines = 0, b""
    while True:
        page = own.get_session_recording(SessionId=session_id, Offset=offset, MaxBytes=most)
        lines += page["Data"]
        offset = page["NextOffset"]
        if offset >= page["Size"]:
            return page["Header"].encode() + b"\n" + lines, page


def events(file: bytes) -> Iterator[tuple[float, str, str]]:
    for line in file.splitlines()[1:]:
        at, kind, data = json.loads(line)
        yield at, kind, data


def ended(world: World, *said: bytes, typed: tuple[bytes, ...] = ()) -> str:
    """A session whose node said this, after it ended."""
    node = world.node()
    client, worker = world.open(node)
    world.run(client.say(json.dumps({"cols": 132, "rows": 40}).encode(), SIZE))
    for each in typed:
        world.run(client.say(each))
    for each in said:
        world.run(worker.say(each))
    length = sum(map(len, said)) + sum(map(len, typed))
    world.until(lambda: len(client.received) == length)
    world.run(node.agent.complete(client.session_id))
    world.until(lambda: world.status(client.session_id) == "Terminated")
    return client.session_id


def test_output_is_recorded_with_its_times_and_hash(world: World, own: Any) -> None:
    text = "h\xe4llo \N{SNOWMAN}\r\n".encode()
    session_id = ended(world, b"$ ", text, b"\xff\x1b[31mred\x1b[0m", typed=(b"secret",))
    file, page = file_of(own, session_id, most=10)
    header = json.loads(file.splitlines()[0])
    assert (header["version"], session_id in header["title"]) == (2, True)
    shown = "".join(data for _, kind, data in events(file) if kind == "o")
    assert shown == "secret$ " + text.decode() + "\ufffd\x1b[31mred\x1b[0m"  # the agent echoes what is typed
    assert [data for _, kind, data in events(file) if kind == "r"] == ["132x40"]
    assert not [data for _, kind, data in events(file) if kind == "i"]
    times = [at for at, _, _ in events(file)]
    assert times == sorted(times)
    assert page["Complete"]
    world.until(lambda: own.get_session_recording(SessionId=session_id)["BytesReceived"] > 0)
    world.run(recordings.pack.run(world.server.application.house))
    sealed = own.get_session_recording(SessionId=session_id)["Sha256"]
    packed, _ = file_of(own, session_id)
    assert packed == file
    assert sealed == hashlib.sha256(packed).hexdigest()


def test_what_is_typed_where_the_account_wants_it(world: World, own: Any) -> None:
    setting(world, "record-input", "true")
    session_id = ended(world, typed=(b"ls", b"\r"))
    file, _ = file_of(own, session_id)
    assert "".join(data for _, kind, data in events(file) if kind == "i") == "ls\r"


def test_nothing_where_it_is_off_or_a_tunnel_or_a_file(world: World, own: Any) -> None:
    node = world.node()
    tunnel, worker = world.open(node, DocumentName="AWS-StartPortForwardingSession")
    world.run(worker.say(b"secret"))
    files, worker = world.open(node, DocumentName="Pilothouse-GetFiles", Parameters={"path": ["/etc/shadow"]})
    world.run(worker.say(b"Dsecret"))
    setting(world, "recording", "off")
    client, worker = world.open(node)
    world.run(worker.say(b"secret"))
    world.until(lambda: bytes(client.received) == b"secret")
    for session_id in (tunnel.session_id, files.session_id, client.session_id):
        page = own.get_session_recording(SessionId=session_id)
        assert (page["Recorded"], page["Size"]) == (False, 0)


def test_nothing_is_shown_that_could_not_be_recorded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    setting(world, "recording", "required")
    node = world.node()
    client, worker = world.open(node)
    world.run(worker.say(b"before"))
    world.until(lambda: bytes(client.received) == b"before")
    keeper = world.server.application.edge.data.keeper

    async def full(*_: Any) -> None:
        raise StorageUnavailable("the disk is full")

    monkeypatch.setattr(keeper, "tape", full)
    world.run(worker.say(b"after"))
    for _ in range(8):
        world.server.advance(seconds=1)
    world.until(lambda: client.farewell is not None)
    assert "recording" in (client.farewell or "")
    assert bytes(client.received) == b"before"
    monkeypatch.undo()
    world.until(lambda: world.status(client.session_id) == "Terminating")
    assert "recording" in (world.find(client.session_id) or {})["Details"]


def test_without_the_demand_a_session_goes_on(world: World, own: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    node = world.node()
    client, worker = world.open(node)
    keeper = world.server.application.edge.data.keeper

    async def full(*_: Any) -> None:
        raise StorageUnavailable("the disk is full")

    monkeypatch.setattr(keeper, "tape", full)
    world.run(worker.say(b"unrecorded"))
    for _ in range(8):
        world.server.advance(seconds=1)
    world.until(lambda: bytes(client.received) == b"unrecorded")
    monkeypatch.undo()
    assert client.farewell is None


def test_an_encrypted_session_is_refused_where_recordings_are_demanded(world: World) -> None:
    inputs = {"kmsKeyId": "alias/sessions"}
    content = {"schemaVersion": "1.0", "description": "d", "sessionType": "Standard_Stream", "inputs": inputs}
    world.ssm.create_document(Name="Encrypted", DocumentType="Session", Content=json.dumps(content))
    world.undo.append(lambda: world.ssm.delete_document(Name="Encrypted"))
    node = world.node(serves=False)
    assert world.start(node, DocumentName="Encrypted")["TokenValue"]
    setting(world, "recording", "required")
    code, message = refused(lambda: world.start(node, DocumentName="Encrypted"))
    assert code == "ValidationException"
    assert "kmsKeyId" in message


def test_search_finds_lines_of_those_that_one_may_read(world: World, own: Any) -> None:
    first = ended(world, b"nothing here\r\nthe quick br", b"own \x1b[1mfox\x1b[0m ju", b"mps\r\nover\r\n")
    second = ended(world, b"a QUICK BROWN FOX at the end")
    found = own.search_session_recordings(Text="quick brown fox")["Matches"]
    lines = {each["SessionId"]: each["Line"] for each in found}
    assert lines[first] == "the quick brown fox jumps"
    assert lines[second] == "a QUICK BROWN FOX at the end"
    assert [each["SessionId"] for each in found][:2] == [second, first]
    arn = f"arn:aws:ssm:*:*:session/{first}"
    may = {"Effect": "Allow", "Action": "pilothouse:*", "Resource": arn}
    key = world.aws  # a user who may read one of them
    reader = user(world, "reader", OPEN, may)
    assert reader
    credentials = reader._request_signer._credentials
    theirs = key("pilothouse", access_key=credentials.access_key, secret=credentials.secret_key)
    assert [each["SessionId"] for each in theirs.search_session_recordings(Text="fox")["Matches"]] == [first]
    assert refused(lambda: theirs.get_session_recording(SessionId=second))[0] == "AccessDeniedException"
    assert theirs.get_session_recording(SessionId=first)["Recorded"]


def test_transcripts_go_where_the_preferences_say(world: World) -> None:
    s3, logs = world.aws("s3"), world.aws("logs")
    s3.create_bucket(Bucket="transcripts", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    logs.create_log_group(logGroupName="/sessions")
    inputs = {"s3BucketName": "transcripts", "s3KeyPrefix": "logs/", "cloudWatchLogGroupName": "/sessions"}
    preferences(world, **inputs, cloudWatchStreamingEnabled=False)
    session_id = ended(world, b"$ ls\r\n", b"\x1b[34mone\x1b[0m two\r\n", b"$ ")
    world.run(recordings.pack.run(world.server.application.house))
    world.run(delivering.deliver.run(world.server.application.house))
    found = world.find(session_id) or {}
    assert found["OutputUrl"]["S3OutputUrl"].endswith(f"/transcripts/logs/{session_id}.log")
    body = s3.get_object(Bucket="transcripts", Key=f"logs/{session_id}.log")["Body"].read()
    assert body == b"$ ls\none two\n$ \n"
    said = logs.get_log_events(logGroupName="/sessions", logStreamName=session_id, startFromHead=True)["events"]
    assert [each["message"] for each in said] == ["$ ls", "one two", "$ "]


def test_a_transcript_without_a_place_is_told_of(world: World) -> None:
    preferences(world, s3BucketName="nowhere-at-all", cloudWatchLogGroupName="/nowhere")
    session_id = ended(world, b"hello\r\n")
    world.run(recordings.pack.run(world.server.application.house))
    world.run(delivering.deliver.run(world.server.application.house))
    assert "no bucket nowhere-at-all" in (world.find(session_id) or {})["Details"]
    assert "no log group /nowhere" in (world.find(session_id) or {})["Details"]


def masked(world: World, names: str) -> None:
    setting(world, "masked-values", names)


def secret_parameter(world: World, name: str, value: str) -> None:
    world.ssm.put_parameter(Name=name, Value=value, Type="SecureString", Overwrite=True)
    world.undo.append(lambda: world.ssm.delete_parameters(Names=[name]))


def test_known_values_are_in_no_recording(world: World, own: Any) -> None:
    secret_parameter(world, "/masks/password", "hunter2-is-it")
    world.aws("secretsmanager").create_secret(Name="masks/db", SecretString='{"password": "c0rrect-horse"}')
    world.undo.append(
        lambda: world.aws("secretsmanager").delete_secret(SecretId="masks/db", ForceDeleteWithoutRecovery=True)
    )
    masked(world, "/masks/*, /aws/reference/secretsmanager/masks/*")
    setting(world, "record-input", "true")
    node = world.node()
    client, worker = world.open(node)
    watcher = own.open_session_view(SessionId=client.session_id, Mode="watch")
    assert watcher
    for piece in (b"$ hunt", b"er2-i", b"s-it\r\n", b"c0rrect", b"-\x1b[1mhorse\r\n", b"hunter2-is"):
        world.run(worker.say(piece))
    typed = b"".join(bytes([each]) for each in b"hunter2-is-it")
    for each in typed:
        world.run(client.say(bytes([each])))
    live = b"$ hunter2-is-it\r\nc0rrect-\x1b[1mhorse\r\nhunter2-is" + typed
    world.until(lambda: bytes(client.received) == live)
    secret_parameter(world, "/masks/password", "changed-meanwhile")
    world.run(worker.say(b" changed-mean"))
    world.run(worker.say(b"while hunter2-is-it"))
    world.run(worker.say(b" hunter2-i"))
    world.until(lambda: bytes(client.received).endswith(b"it hunter2-i"))
    world.run(node.agent.complete(client.session_id))
    world.until(lambda: world.status(client.session_id) == "Terminated")
    world.run(recordings.pack.run(world.server.application.house))
    file, page = file_of(own, client.session_id)
    shown = "".join(data for _, kind, data in events(file) if kind == "o")
    star = "********"
    assert shown == f"$ {star}\r\n{star}\x1b[1m\r\nhunter2-is{star} {star} {star} {star}"
    assert "".join(data for _, kind, data in events(file) if kind == "i") == star
    assert page["Complete"]
    assert own.get_session_recording(SessionId=client.session_id)["Sha256"] == hashlib.sha256(file).hexdigest()
    for text in ("hunter2-is-it", "changed-meanwhile", "c0rrect-horse"):
        assert client.session_id not in {
            each["SessionId"] for each in own.search_session_recordings(Text=text)["Matches"]
        }


def test_whoever_joins_sees_no_known_value(world: World, own: Any) -> None:
    secret_parameter(world, "/masks/token", "s3cret-token")
    masked(world, "/masks/token")
    page, session_id = driven(world)
    joiner = Page(world, session_id, own.open_session_view(SessionId=session_id, Mode="join")["TokenValue"])
    page.type(b"my s3cret-token!")
    world.until(lambda: bytes(page.shown) == b"my s3cret-token!")
    world.until(lambda: bytes(joiner.shown) == b"my ********!")
    joiner.type(b" and mine")
    world.until(lambda: bytes(joiner.shown) == b"my ********! and mine")
    assert bytes(page.shown).endswith(b" and mine")
    page.leave()
    again = Page(world, session_id, world.ssm.resume_session(SessionId=session_id)["TokenValue"])
    world.until(lambda: bytes(again.shown).startswith(b"my s3cret-token!"))  # it is the user's own


def test_names_of_masked_values_are_checked(world: World) -> None:
    for wrong in ("/a/*/b", "a b\x01", "/aws/service/x", "//"):
        code, _ = refused(lambda wrong=wrong: setting(world, "masked-values", wrong))
        assert code == "ValidationException"


def test_a_transcript_is_streamed_while_the_session_goes_on(world: World) -> None:
    logs, house = world.aws("logs"), world.server.application.house
    preferences(world, cloudWatchLogGroupName="/streamed", cloudWatchStreamingEnabled=True)
    node = world.node()
    client, worker = world.open(node)
    said = bytearray()

    def say(*pieces: bytes) -> None:
        for piece in pieces:
            said.extend(piece)
            world.run(worker.say(piece))
        world.until(lambda: bytes(client.received) == bytes(said))
        world.run(streaming.stream.run(house))

    def events_of() -> list[dict[str, Any]]:
        try:
            found = logs.get_log_events(
                logGroupName="/streamed", logStreamName=client.session_id, startFromHead=True
            )["events"]  # fmt: skip
        except logs.exceptions.ResourceNotFoundException:
            return []
        return [json.loads(each["message"]) for each in found]

    say(b"$ ls\r\none \x1b[1mtwo\x1b[0m\r\nbeg")
    assert events_of() == []  # there is no such group
    logs.create_log_group(logGroupName="/streamed")
    say(b"un\r\nthe ")
    first = events_of()
    assert [line for each in first for line in each["sessionData"]] == ["$ ls", "one two", "begun"]
    assert first[0]["target"] == {"id": node.id}
    assert first[0]["userIdentity"]["arn"].endswith(":root")
    assert (first[0]["runAsUser"], first[0]["sessionId"]) == ("ssm-user", client.session_id)
    say(b"end\r\n", b"$ ")
    world.run(streaming.stream.run(house))  # once more: nothing comes twice
    assert [line for each in events_of() for line in each["sessionData"]] == ["$ ls", "one two", "begun", "the end"]
    world.run(node.agent.complete(client.session_id))
    world.until(lambda: world.status(client.session_id) == "Terminated")
    world.run(recordings.pack.run(house))
    world.run(delivering.deliver.run(house))
    assert [line for each in events_of() for line in each["sessionData"]][3:] == ["the end", "$ "]
    assert "log-stream:" in (world.find(client.session_id) or {})["OutputUrl"]["CloudWatchOutputUrl"]
