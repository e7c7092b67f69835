"""A bucket, and clients that keep to the wire as AWS's own do."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from pilothouse.runtime.clock import TestClock
from pilothouse.runtime.settings import Settings
from tests.conftest import Aws, Server


@pytest.fixture
def server(database_url: str, tmp_path: Path, clock: TestClock) -> Iterator[Server]:
    """The whole server in process, once for each engine."""
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    skew = 60 * 86_400  # tests move the server's clock by days; clients sign by the machine's
    opened = Server(Settings(data=data, database=database_url, skew_seconds=skew), clock)
    try:
        yield opened
    finally:
        opened.close()


@pytest.fixture
def s3(aws: Aws) -> Any:
    """The account's root, in the region of `aws`."""
    return aws("s3")


@pytest.fixture
def bucket(s3: Any) -> str:
    """A bucket of the account."""
    s3.create_bucket(Bucket="reports", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    return "reports"


class Refused:
    """What an operation is refused with: `with refused("NoSuchKey", 404): …`"""

    def __init__(self, code: str, status: int | None = None) -> None:
        self._code = code
        self._status = status
        self.error: dict[str, Any] = {}
        self.headers: dict[str, str] = {}

    def __enter__(self) -> "Refused":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> bool:
        assert isinstance(error, ClientError), f"{self._code} was expected, not {error!r}"
        self.error = error.response["Error"]
        self.headers = error.response["ResponseMetadata"]["HTTPHeaders"]
        assert self.error["Code"] == self._code, self.error
        if self._status is not None:
            assert error.response["ResponseMetadata"]["HTTPStatusCode"] == self._status
        return True


refused = Refused
