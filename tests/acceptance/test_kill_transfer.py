"""kill -9 of the server in the middle of moves and imports: after the restart all of it is there, or nothing."""

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

import pilothouse.wire
from tests.acceptance.installation import Installation

KILLS = 5
PARAMETERS = 150
VERSIONS = 3


class Clients:
    """Clients that serve over all restarts; they do not try again by themselves."""

    def __init__(self, house: Installation) -> None:
        values = house.environment()
        session = botocore.session.Session()
        session.get_component("data_loader").search_paths.append(str(Path(pilothouse.wire.__path__[0]) / "own-models"))
        self.ssm, self.own = (
            session.create_client(
                service,
                region_name=values["AWS_REGION"],
                endpoint_url=values["AWS_ENDPOINT_URL"],
                aws_access_key_id=values["AWS_ACCESS_KEY_ID"],
                aws_secret_access_key=values["AWS_SECRET_ACCESS_KEY"],
                config=Config(retries={"total_max_attempts": 1}, connect_timeout=2, read_timeout=60),
            )
            for service in ("ssm", "pilothouse")
        )


@pytest.fixture
def clients(house: Installation) -> Clients:
    return Clients(house)


def _value(number: int, version: int) -> str:
    return f"{'secret' if number % 2 else 'text'}-{number}-{version}"


def _entries(path: str, version: int) -> list[dict[str, Any]]:
    return [
        {
            "Name": f"{path}/{number % 7}/{number:04}",
            "Value": _value(number, version),
            "Type": "SecureString" if number % 2 else "String",
            "Labels": [f"v{version}"],
            "Tags": [{"Key": "number", "Value": str(number)}],
            "Description": f"the one with number {number}",
        }
        for number in range(PARAMETERS)
    ]


def _names(ssm: Any, path: str) -> list[str]:
    pages = ssm.get_paginator("describe_parameters")
    filters = [{"Key": "Path", "Option": "Recursive", "Values": [path]}]
    return [each["Name"] for page in pages.paginate(ParameterFilters=filters) for each in page["Parameters"]]


def _check_whole(ssm: Any, path: str, versions: int) -> None:
    """Parameters of `_entries` are there with their history, labels and tags, and their values open: so many of them,
    each time others, that a fault which touches some does not hide over all rounds.
    """
    entries = _entries(path, versions)
    for number, entry in random.sample(list(enumerate(entries)), 30):
        history = ssm.get_parameter_history(Name=entry["Name"], WithDecryption=True)["Parameters"]
        assert [(each["Version"], each["Value"], each["Labels"]) for each in history] == [
            (version, _value(number, version), [f"v{version}"]) for version in range(1, versions + 1)
        ]
    some = random.choice(entries)
    tagged = ssm.list_tags_for_resource(ResourceType="Parameter", ResourceId=some["Name"])["TagList"]
    assert tagged == some["Tags"]


class Attempt(threading.Thread):
    """One call that the kill of the server may cut."""

    def __init__(self, work: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self._work = work
        self.acknowledged = False
        self.refused = ""

    def run(self) -> None:
        try:
            self._work()
        except ClientError as error:
            self.refused = str(error)
        except BotoCoreError:
            pass  # the server was gone
        else:
            self.acknowledged = True


@contextmanager
def _killed_during(house: Installation, work: Callable[[], Any], lasting: float) -> Iterator[Attempt]:
    """The server dies at a random moment of a call that takes about `lasting` seconds, and is there again."""
    attempt = Attempt(work)
    attempt.start()
    time.sleep(random.uniform(0, lasting))
    house.kill()
    attempt.join(60)
    house.start()
    assert attempt.refused == ""
    yield attempt


def _seconds(work: Callable[[], Any]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


def test_a_move_that_a_kill_cuts_moved_all_or_nothing(house: Installation, clients: Clients) -> None:
    own = clients.own
    for version in range(1, VERSIONS + 1):
        own.import_parameters(Entries=_entries("/m/0", version), OnExisting="overwrite")
    at = 1
    lasting = _seconds(lambda: own.move_parameters(Source="/m/0", Destination="/m/1", Recursive=True))
    cut = 0
    for _ in range(KILLS):

        def move(source: str = f"/m/{at}", destination: str = f"/m/{at + 1}") -> None:
            own.move_parameters(Source=source, Destination=destination, Recursive=True)

        with _killed_during(house, move, lasting) as attempt:
            left, came = _names(clients.ssm, f"/m/{at}"), _names(clients.ssm, f"/m/{at + 1}")
            assert sorted([len(left), len(came)]) == [0, PARAMETERS]
            assert came or not attempt.acknowledged
            cut += not attempt.acknowledged
            lasting *= 0.7 if attempt.acknowledged else 1  # the kill came too late
        at += bool(came)
        _check_whole(clients.ssm, f"/m/{at}", VERSIONS)
    assert cut, "no kill came in time; the test would see nothing"
    own.move_parameters(Source=f"/m/{at}", Destination="/m/end", Recursive=True)
    _check_whole(clients.ssm, "/m/end", VERSIONS)


def test_an_import_that_a_kill_cuts_put_all_or_nothing(house: Installation, clients: Clients) -> None:
    own = clients.own
    lasting = _seconds(lambda: own.import_parameters(Entries=_entries("/i/first", 1)))
    cut = 0
    for n in range(KILLS):

        def put(path: str = f"/i/{n}") -> None:
            own.import_parameters(Entries=_entries(path, 1))

        with _killed_during(house, put, lasting) as attempt:
            came = _names(clients.ssm, f"/i/{n}")
            assert len(came) in {0, PARAMETERS}
            assert came or not attempt.acknowledged
            cut += not attempt.acknowledged
            lasting *= 0.7 if attempt.acknowledged else 1  # the kill came too late
        if not came:
            put()
        _check_whole(clients.ssm, f"/i/{n}", 1)
    assert cut, "no kill came in time; the test would see nothing"


def test_an_overwriting_import_that_a_kill_cuts_made_every_version_or_none(
    house: Installation, clients: Clients
) -> None:
    own = clients.own
    lasting = _seconds(lambda: own.import_parameters(Entries=_entries("/o", 1)))
    version, cut = 1, 0
    pages = clients.ssm.get_paginator("get_parameters_by_path")
    for _ in range(KILLS):

        def overwrite(following: int = version + 1) -> None:
            own.import_parameters(Entries=_entries("/o", following), OnExisting="overwrite")

        with _killed_during(house, overwrite, lasting) as attempt:
            numbers = {
                each["Version"] for page in pages.paginate(Path="/o", Recursive=True) for each in page["Parameters"]
            }
            assert numbers in ({version}, {version + 1})
            assert numbers == {version + 1} or not attempt.acknowledged
            cut += not attempt.acknowledged
            lasting *= 0.7 if attempt.acknowledged else 1  # the kill came too late
        version = numbers.pop()
        _check_whole(clients.ssm, "/o", version)
    assert cut, "no kill came in time; the test would see nothing"
