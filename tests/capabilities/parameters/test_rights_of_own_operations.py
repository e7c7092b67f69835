"""Our own operations on parameters do nothing that policies of ssm deny, through boto3."""

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.capabilities.access.policies import User, allow, deny, error
from tests.conftest import Aws, Server

DENIED = "AccessDeniedException"
OWN, SSM = allow("pilothouse:*"), allow("ssm:*")


@pytest.fixture
def user(aws: Aws) -> User:
    ssm = aws("ssm")
    for name in ("/dev/a", "/prod/a", "/dev/gone", "/prod/gone"):
        ssm.put_parameter(Name=name, Value="1", Type="String")
    ssm.delete_parameters(Names=["/dev/gone", "/prod/gone"])
    return User(aws, "ann")


def prod(action: str, **more: Any) -> dict[str, Any]:
    return deny(action, "arn:aws:ssm:*:*:parameter/prod/*", **more)


def entry(name: str, value: str = "2") -> dict[str, str]:
    return {"Name": name, "Value": value, "Type": "String"}


def test_an_import_writes_what_may_be_put(aws: Aws, user: User) -> None:
    user.may(OWN, SSM, prod("ssm:PutParameter"))
    own = user("pilothouse")
    found = error(own.import_parameters, Entries=[entry("/dev/b"), entry("/prod/b")])
    assert (found["Code"], found["Message"].startswith("Entry 2 (/prod/b): User: ")) == (DENIED, True)
    assert aws("ssm").get_parameters(Names=["/dev/b", "/prod/b"])["Parameters"] == []
    own.import_parameters(Entries=[entry("/dev/b")])
    user.may(OWN, SSM, deny("ssm:PutParameter", Condition={"StringEquals": {"ssm:Overwrite": "true"}}))
    own.import_parameters(Entries=[entry("/prod/c")])
    assert error(own.import_parameters, Entries=[entry("/prod/a")], OnExisting="overwrite")["Code"] == DENIED
    user.may(OWN)
    assert error(own.import_parameters, Entries=[entry("/dev/d")])["Code"] == DENIED


def test_a_move_deletes_there_and_puts_here(user: User) -> None:
    own = user("pilothouse")
    user.may(OWN, SSM, prod("ssm:DeleteParameter"))
    assert error(own.move_parameters, Source="/prod/a", Destination="/dev/b")["Code"] == DENIED
    own.move_parameters(Source="/dev/a", Destination="/prod/b")
    user.may(OWN, SSM, prod("ssm:PutParameter"))
    assert error(own.move_parameters, Source="/prod/b", Destination="/prod/c")["Code"] == DENIED
    own.move_parameters(Source="/prod/b", Destination="/dev/b")


def test_what_is_brought_back_is_put(aws: Aws, user: User, server: Server) -> None:
    own = user("pilothouse")
    user.may(OWN, SSM, prod("ssm:PutParameter"))
    assert error(own.restore_trashed_parameter, Name="/prod/gone")["Code"] == DENIED
    own.restore_trashed_parameter(Name="/dev/gone")
    server.advance(seconds=5)
    then = datetime.fromtimestamp(server.clock.millis() / 1000, UTC)
    server.advance(seconds=5)
    for name in ("/dev/a", "/prod/a", "/dev/new", "/prod/new"):
        aws("ssm").put_parameter(Name=name, Value="2", Type="String", Overwrite=True)
    assert error(own.restore_parameters, Path="/prod", AsOf=then)["Code"] == DENIED
    own.restore_parameters(Path="/dev", AsOf=then)
    user.may(OWN, SSM, prod("ssm:DeleteParameter"))
    assert error(own.restore_parameters, Path="/prod", AsOf=then, DeleteNewer=True)["Code"] == DENIED
    own.restore_parameters(Path="/prod", AsOf=then)
    own.restore_parameters(Path="/dev", AsOf=then, DeleteNewer=True)
    assert aws("ssm").get_parameter(Name="/prod/new")["Parameter"]["Value"] == "2"
    assert aws("ssm").get_parameters(Names=["/dev/new"])["Parameters"] == []
