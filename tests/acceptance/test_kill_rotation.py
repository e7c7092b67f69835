"""A server that is killed in the middle of each step of a rotation: the rotation ends, and no value is lost."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.installation import Installation, eventually, stored_in
from tests.capabilities.secrets.conftest import Function, function  # noqa: F401 - a fixture

STEPS = ("createSecret", "setSecret", "testSecret", "finishSecret")


@pytest.fixture
def house(database_url: str, tmp_path: Path) -> Iterator[Installation]:
    made = Installation(tmp_path, *stored_in(database_url))
    hook = made.data / "hook"
    made.data.mkdir(mode=0o700, exist_ok=True)
    hook.write_text("whsec_" + "c2VjcmV0LW9mLXRoaXJ0eS10d28tYnl0ZXMtLi4u")
    (made.data / "pilothouse.toml").write_text(
        f'[outbound]\nallow = ["127.0.0.1/32"]\n[secrets]\nhook_secret_file = "{hook}"\n'
    )
    made.start()
    try:
        yield made
    finally:
        made.close()


def test_a_rotation_survives_kills_in_every_step(house: Installation, function: Function) -> None:  # noqa: F811
    secrets = house.boto("secretsmanager")
    old = secrets.create_secret(Name="x", SecretString="old")["VersionId"]
    killed: list[str] = []

    def act(event: dict[str, Any]) -> None:
        """Kill it before what the step does, and when it is asked again do that and kill it before it can know."""
        step, token = event["Step"], event["ClientRequestToken"]
        again = killed.count(step)
        if again == 0:
            killed.append(step)
            house.kill()
            house.start()
            return
        ours = house.boto("secretsmanager")
        stages = ours.describe_secret(SecretId="x")["VersionIdsToStages"]
        if step == "createSecret":
            ours.put_secret_value(
                SecretId="x", ClientRequestToken=token, SecretString="new", VersionStages=["AWSPENDING"]
            )
        if step == "finishSecret" and "AWSCURRENT" not in stages[token]:
            ours.update_secret_version_stage(
                SecretId="x", VersionStage="AWSCURRENT", MoveToVersionId=token, RemoveFromVersionId=old
            )
        if step != "finishSecret":
            assert ours.get_secret_value(SecretId="x")["SecretString"] == "old"
        if again == 1:
            killed.append(step)
            house.kill()
            house.start()

    function.act = act
    token = secrets.rotate_secret(SecretId="x", RotationLambdaARN=f"{function.url}/hook")["VersionId"]

    def ended() -> Any:
        try:
            last = house.boto("pilothouse").list_secret_rotations(SecretId="x")["Rotations"][0]
        except Exception:
            return None  # it is being killed
        return last if last["State"] != "Running" else None

    rotation = eventually(ended)
    assert rotation["State"] == "Succeeded", json.dumps(rotation, default=str)
    assert killed == [each for step in STEPS for each in (step, step)]
    described = secrets.describe_secret(SecretId="x")["VersionIdsToStages"]
    assert "AWSCURRENT" in described[token]
    assert described[old] == ["AWSPREVIOUS"]
    assert secrets.get_secret_value(SecretId="x")["SecretString"] == "new"
