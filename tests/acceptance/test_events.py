"""Events over real sockets: streams that reconnect and webhooks, while the server is killed."""

import http.client
import json
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.acceptance.installation import BIN, Installation, eventually, installation
from tests.acceptance.test_kill import Writer
from tests.capabilities.events.conftest import Receiver

KILLS = 3


@pytest.fixture
def house(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installation]:
    """A running server that may call receivers on this machine."""
    monkeypatch.setenv("PILOTHOUSE_OUTBOUND_ALLOW", "127.0.0.1/32")
    options = ("--database", database_url) if database_url.startswith("postgresql") else ()
    with installation(tmp_path, *options) as made:
        yield made


def webhooks(house: Installation, *words: str) -> str:
    """What `pilothouse webhooks` prints."""
    return subprocess.run(
        [BIN / "pilothouse", "webhooks", *words], env=house.environment(), check=True, stdout=subprocess.PIPE, text=True
    ).stdout


class StreamReader(threading.Thread):
    """Reads a stream and, whenever it ends, goes on after the last id."""

    def __init__(self, house: Installation, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self._values = house.environment()
        self._stop_reading = stop
        self._last_id = ""
        self.events: list[dict[str, Any]] = []
        self.ready = threading.Event()

    def run(self) -> None:
        while not self._stop_reading.is_set():
            try:
                self._read()
            except (OSError, http.client.HTTPException):
                time.sleep(0.05)

    def _read(self) -> None:
        url = self._values["AWS_ENDPOINT_URL"] + "/ph/v1/events?path=%2Fkill"
        signed = AWSRequest("GET", url, headers={"last-event-id": self._last_id} if self._last_id else {})
        key = Credentials(self._values["AWS_ACCESS_KEY_ID"], self._values["AWS_SECRET_ACCESS_KEY"])
        SigV4Auth(key, "pilothouse", self._values["AWS_REGION"]).add_auth(signed)
        split = urlsplit(url)
        connection = http.client.HTTPConnection(split.hostname or "", split.port, timeout=20)
        try:
            connection.request("GET", f"{split.path}?{split.query}", headers=dict(signed.headers.items()))
            answer = connection.getresponse()
            if answer.status == 503:
                raise http.client.HTTPException("the server stops")
            assert answer.status == 200, answer.read()
            new_id, data = "", ""
            while (line := answer.readline()) and not self._stop_reading.is_set():
                name, _, value = line.decode().rstrip("\n").partition(": ")
                if name == "id":
                    new_id = value
                elif name == "data":
                    data = value
                elif not line.strip():
                    if data:
                        self.events.append(json.loads(data))
                    self._last_id, data = new_id or self._last_id, ""
                    self.ready.set()
        finally:
            connection.close()


def numbers(events: list[dict[str, Any]], lane: int) -> list[int]:
    """Of the parameters that a lane put one after another, in the order in which their events came."""
    names = [event["detail"]["name"].split("/") for event in list(events) if "name" in event["detail"]]
    return [int(name[3]) for name in names if name[1:3] == ["kill", str(lane)]]


def test_nothing_is_lost_on_the_way_while_the_server_is_killed(house: Installation) -> None:
    receiver = Receiver()
    stop, stop_reading = threading.Event(), threading.Event()
    try:
        made = webhooks(house, "create", receiver.url, "--path", "/kill")
        webhook_id = json.loads(made)["WebhookId"]
        assert "answered 200" in webhooks(house, "test", webhook_id)
        reader = StreamReader(house, stop_reading)
        reader.start()
        assert reader.ready.wait(30)
        writers = [Writer(house, lane, stop) for lane in range(4)]
        for writer in writers:
            writer.start()
        for _ in range(KILLS):
            time.sleep(1)
            house.kill()
            house.start()
        stop.set()
        for writer in writers:
            writer.join(30)
        acknowledged = {name for writer in writers for name in writer.acknowledged}
        assert len(acknowledged) > KILLS

        def seen(events: list[dict[str, Any]]) -> set[str]:
            return {event["detail"]["name"] for event in list(events) if "name" in event["detail"]}

        eventually(lambda: acknowledged <= seen(receiver.events), within=120, what="every event at the webhook")
        eventually(lambda: acknowledged <= seen(reader.events), within=60, what="every event on the stream")
        for lane in range(4):
            assert numbers(reader.events, lane) == sorted(set(numbers(reader.events, lane))), "lost its order"
            came = list(dict.fromkeys(numbers(receiver.events, lane)))  # at a kill some may come twice
            assert came == sorted(came)
        before = len(receiver.events)
        said = [webhooks(house, *words) for words in (
            ("list",), ("rotate-secret", webhook_id), ("redeliver", webhook_id, "--since", "1 hour ago"),
        )]  # fmt: skip
        assert (receiver.url in said[0], "whsec_" in said[1]) == (True, True)
        eventually(lambda: len(receiver.events) >= before + len(acknowledged), what="every event once more")
        for words in (("enable", webhook_id), ("delete", webhook_id)):
            assert webhooks(house, *words) == ""
        assert webhooks(house, "list") == ""
        assert house.stop() == 0
        assert "graceful shutdown exceeded" not in house.server_log.read_text(), "the open stream kept it from stopping"
    finally:
        stop.set()
        stop_reading.set()
        receiver.close()
