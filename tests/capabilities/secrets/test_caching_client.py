"""AWS's own caching client: it describes, reads by stage and version, and keeps what it read until it is old."""

from typing import Any

from aws_secretsmanager_caching import SecretCache
from aws_secretsmanager_caching.decorators import InjectKeywordedSecretString

from tests.capabilities.secrets.conftest import Ended, rotate, value


def test_the_official_caching_client_reads_and_follows_a_rotation(secrets: Any, ended: Ended) -> None:
    secrets.create_secret(Name="app/db", SecretString='{"username":"app","password":"first"}')
    secrets.create_secret(Name="bytes", SecretBinary=b"\x00\x01")
    cache = SecretCache(client=secrets)
    assert cache.get_secret_string("app/db") == '{"username":"app","password":"first"}'
    assert cache.get_secret_binary("bytes") == b"\x00\x01"
    rotate(secrets, "app/db", "pilothouse:random")
    ended("app/db")
    assert cache.get_secret_string("app/db") == '{"username":"app","password":"first"}'  # until it is an hour old
    cache.refresh_secret_now("app/db")
    assert value(secrets, "app/db")["password"] in str(cache.get_secret_string("app/db"))
    assert cache.get_secret_string("app/db", "AWSPREVIOUS") == '{"username":"app","password":"first"}'

    @InjectKeywordedSecretString(secret_id="app/db", cache=cache, username="username")
    def connect(username: str) -> str:
        return username

    assert connect() == "app"
