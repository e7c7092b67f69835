"""kill -9 while parameters live: versions stay gapless, and puts, labels, deletes and returns that were told stay."""

import random
import threading
import time
from collections.abc import Callable
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from tests.acceptance.installation import Installation
from tests.acceptance.test_kill_transfer import Clients

KILLS = 6
SHARED = "/shared"

State = tuple[int, str, tuple[str, ...]] | None
"""Version, value and labels of a parameter; None where there is none."""


class Lane(threading.Thread):
    """Works until it is told to stop; a call that the kill may have cut is `unknown`."""

    def __init__(self, house: Installation, number: int, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self.clients = Clients(house)
        self.number, self.stop = number, stop
        self.surprises: list[str] = []

    def tried(self, call: Callable[[], Any]) -> Any:
        """The answer; None where the outcome is unknown, False where the server refused."""
        try:
            return call()
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] >= 500:
                return None
            if error.response["Error"]["Code"] != "TooManyUpdates":
                self.surprises.append(str(error))
            return False
        except BotoCoreError:
            time.sleep(0.02)
            return None


class Sharer(Lane):
    """Puts new versions of one parameter that others put too."""

    def run(self) -> None:
        self.told: dict[int, str] = {}
        n = 0
        while not self.stop.is_set():
            n += 1
            value = f"{self.number}-{n}"
            done = self.tried(
                lambda value=value: self.clients.ssm.put_parameter(
                    Name=SHARED, Value=value, Type="SecureString", Overwrite=True
                )
            )
            if done:
                self.told[done["Version"]] = value


class Life(Lane):
    """Leads a parameter through its life, and compares at each step with what must be there."""

    def run(self) -> None:
        self.steps = self.cut = 0
        state: State = None
        before: list[str] = []
        while not self.stop.is_set():
            name, n = f"/life/{self.number}", self.steps
            ssm, own = self.clients.ssm, self.clients.own
            put = {"Name": name, "Value": f"value {n}", "Type": "SecureString", "Overwrite": True}
            following: State
            if state is None and before:
                call, following = lambda: own.restore_trashed_parameter(Name=name), self._gone  # noqa: B023
            elif state is None:
                call, following = lambda: ssm.put_parameter(**put), (1, f"value {n}", ())  # noqa: B023
            elif n % 4 == 1:
                call = lambda: ssm.label_parameter_version(Name=name, Labels=["here"])  # noqa: B023, E731
                following = (state[0], state[1], ("here",))
            elif n % 4 == 3:
                call, following = lambda: ssm.delete_parameter(Name=name), None  # noqa: B023
                self._gone = state
            else:
                call, following = lambda: ssm.put_parameter(**put), (state[0] + 1, f"value {n}", ())  # noqa: B023
            before = ["restore"] if state is not None and following is None and n % 8 == 3 else []
            done = self.tried(call)
            found = self._found(name)
            if done is not None and found != following:
                self.surprises.append(f"{name}: {following} was acknowledged, {found} is there")
            elif found not in (state, following):
                self.surprises.append(f"{name}: neither {state} nor {following}, but {found}")
            self.cut += done is None
            if found is not None:
                before = []
            state = found
            self.steps += 1

    def _found(self, name: str) -> State:
        """As it is, once the server answers."""
        while True:
            try:
                newest = self.clients.ssm.get_parameter_history(Name=name, WithDecryption=True)["Parameters"][-1]
            except self.clients.ssm.exceptions.ParameterNotFound:
                return None
            except (BotoCoreError, ClientError):
                time.sleep(0.02)
                continue
            return newest["Version"], newest["Value"], tuple(newest["Labels"])


def test_versions_are_gapless_and_what_was_told_stays(house: Installation) -> None:
    stop = threading.Event()
    sharers = [Sharer(house, number, stop) for number in range(3)]
    lives = [Life(house, number, stop) for number in range(3)]
    lanes = [*sharers, *lives]
    for lane in lanes:
        lane.start()
    for _ in range(KILLS):
        time.sleep(random.uniform(0.1, 0.6))
        house.kill()
        house.start()
    stop.set()
    for lane in lanes:
        lane.join(60)
    assert [surprise for lane in lanes for surprise in lane.surprises] == []
    assert sum(life.cut for life in lives) > 0, "no kill came in time; the test would see nothing"
    assert sum(life.steps for life in lives) > KILLS
    history = [
        each
        for page in Clients(house).ssm.get_paginator("get_parameter_history").paginate(Name=SHARED, WithDecryption=True)
        for each in page["Parameters"]
    ]
    numbers = [each["Version"] for each in history]
    assert numbers == list(range(numbers[0], numbers[-1] + 1))
    told = [version for sharer in sharers for version in sharer.told]
    assert len(told) == len(set(told)), "two puts were told the same version"
    assert max(told) <= numbers[-1]
    stored = {each["Version"]: each["Value"] for each in history}
    for sharer in sharers:
        assert {version: stored.get(version, value) for version, value in sharer.told.items()} == sharer.told
