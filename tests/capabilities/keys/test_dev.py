"""With --dev any text is a key policy; without it, and for every decision, the language of policies holds."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pilothouse.runtime.clock import TestClock
from pilothouse.runtime.settings import Settings
from tests.capabilities.keys.refusals import refused
from tests.conftest import Server


@pytest.fixture
def server(database_url: str, tmp_path: Path, clock: TestClock) -> Iterator[Server]:
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    opened = Server(Settings(data=data, database=database_url, dev=True), clock)
    try:
        yield opened
    finally:
        opened.close()


def _kms(aws: Any, account: str) -> Any:
    return aws("kms", access_key=account, secret="test")


@pytest.mark.parametrize("text", ["my policy", "{}", "[]"])
def test_a_text_that_is_no_policy_is_kept_and_stands_for_the_default_one(aws: Any, text: str) -> None:
    kms, other = _kms(aws, "111122223333"), _kms(aws, "444455556666")
    key = kms.create_key(Policy=text)["KeyMetadata"]
    assert kms.get_key_policy(KeyId=key["KeyId"])["Policy"] == text
    blob = kms.encrypt(KeyId=key["KeyId"], Plaintext=b"secret")["CiphertextBlob"]
    assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"secret"
    assert refused(other.encrypt, KeyId=key["Arn"], Plaintext=b"x")[0] == "AccessDeniedException"
    kms.put_key_policy(KeyId=key["KeyId"], Policy=text + " ")
    assert kms.get_key_policy(KeyId=key["KeyId"])["Policy"] == text + " "


def test_a_policy_decides_also_where_it_locks_everybody_out(aws: Any) -> None:
    kms = _kms(aws, "111122223333")
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    nobody = {"Effect": "Deny", "Principal": "*", "Action": "kms:Encrypt", "Resource": "*"}
    kms.put_key_policy(KeyId=key, Policy=json.dumps({"Version": "2012-10-17", "Statement": [nobody]}))
    assert refused(kms.encrypt, KeyId=key, Plaintext=b"x")[0] == "AccessDeniedException"
