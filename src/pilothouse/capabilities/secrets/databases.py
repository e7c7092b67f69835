"""Credentials of databases that the service manages: of our own service, CreateDatabaseSecret and VerifyDatabaseSecret.

The password that is given is tried, and then changed by the first rotation, so that the secret alone knows it.
"""

from dataclasses import replace
from typing import Final

import msgspec

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities.secrets.changes import changed
from pilothouse.capabilities.secrets.conditions import of_read
from pilothouse.capabilities.secrets.finding import usable
from pilothouse.capabilities.secrets.model import (
    InvalidParameterException,
    InvalidRequestException,
    ResourceExistsException,
    Secret,
    check_name,
)
from pilothouse.capabilities.secrets.naming import named
from pilothouse.capabilities.secrets.operations import new_suffix
from pilothouse.capabilities.secrets.rotation_model import Rotation, asked_rotation, with_rotation
from pilothouse.capabilities.secrets.rotation_steps import begin
from pilothouse.capabilities.secrets.rotators import StepFailed, Value, database_user
from pilothouse.capabilities.secrets.rotators.credentials import Credential, credential
from pilothouse.capabilities.secrets.sealing import unseal
from pilothouse.capabilities.secrets.store import SecretStore
from pilothouse.capabilities.secrets.values import choose, note_read
from pilothouse.capabilities.secrets.versions import GivenValue, put_version

OWNER: Final = "pilothouse-databases"
_KINDS: Final = ("postgresql", "mysql", "mariadb", "mongodb", "redis")
_ENGINES: Final = {
    "postgres": 5432, "postgresql": 5432, "aurora-postgresql": 5432, "mysql": 3306, "mariadb": 3306,
    "aurora-mysql": 3306, "mongo": 27017, "mongodb": 27017, "docdb": 27017, "redis": 6379, "valkey": 6379,
}  # fmt: skip
_ROTATORS: Final = {5432: "postgresql", 3306: "mysql", 27017: "mongodb", 6379: "redis"}
"""Which one speaks to an engine, by the engine's usual port."""


async def _tried(call: Call, found: Credential) -> str | None:
    """Why the credential does not log in; None if it does."""
    try:
        works = await database_user(_ROTATORS[_ENGINES[found.engine]]).can_log_in(call.house, found)
    except StepFailed as failed:
        return f"{failed}."
    return None if works else f"The server refused the login of {found.username}."


def _given(request: Shape) -> Value:
    engine = request["Engine"]
    if engine not in _KINDS:
        raise InvalidParameterException(f"The engine is none of {', '.join(_KINDS)}.")
    members = {
        "engine": engine,
        "host": request["Host"],
        "port": request.get("Port") or _ENGINES[engine],
        "username": request["Username"],
        "password": request["Password"],
    }
    if request.get("DbName"):
        members["dbname"] = request["DbName"]
    if "Tls" in request:
        members["ssl"] = request["Tls"]
    return Value(msgspec.json.encode(members))


async def _prepared(call: Call, request: Shape) -> Value:
    """The value, which logs in. Raises InvalidRequestException."""
    check_name(request["Name"])
    value = _given(request)
    failed = await _tried(call, credential(value, _ENGINES))
    if failed is not None:
        raise InvalidRequestException(f"The credential does not log in: {failed}")
    return value


@operation(
    "pilothouse", "CreateDatabaseSecret", writes=True, action="secretsmanager:CreateSecret", resources=named,
    prepare=_prepared,
)  # fmt: skip
async def create_database_secret(call: Call, request: Shape) -> Shape:
    """A secret with a database's credential, which the service rotates from now on; nobody else changes its value."""
    name, now = request["Name"], call.clock.millis()
    value: Value = call.prepared
    async with call.transaction() as tx:
        store = SecretStore(tx, call.account_id, call.region)
        await store.lock(name)
        if await store.secret(name) is not None:
            raise ResourceExistsException(f"The operation failed because the secret {name} already exists.")
        function = f"pilothouse:{request['Engine']}"
        rules = {"days": request.get("AutomaticallyAfterDays") or 7, "schedule": None, "duration": None}
        rotation = replace(asked_rotation(Rotation(), rules, now), function=function)
        secret = Secret(
            account_id=call.account_id, region=call.region, name=name, suffix=new_suffix(call),
            description=request.get("Description") or "", key_ref=request.get("KmsKeyId") or None, created_at=now,
            changed_at=now, accessed_on=None, purge_at=None, ever_tagged=False, versions_made=0, owning_service=OWNER,
        )  # fmt: skip
        await store.add(secret)
        made = {"ClientRequestToken": call.ids.uuid()}
        secret, _ = await put_version(call, tx, secret, made, GivenValue(value.data, False), None)
        secret = with_rotation(secret, rotation)
        await store.save(secret)
        await changed(call.house, tx, secret, "Create", version=made["ClientRequestToken"])
        version_id = call.ids.uuid()
        await begin(call.house, tx, secret, rotation, version_id, test_only=False)
    return {"ARN": secret.arn, "Name": name, "VersionId": version_id}


@operation(
    "pilothouse", "VerifyDatabaseSecret", action="secretsmanager:GetSecretValue", resources=named, conditions=of_read,
    audited=True,
)  # fmt: skip
async def verify_database_secret(call: Call, request: Shape) -> Shape:
    """Whether the credential in a secret logs in to its database now. The value does not leave the server."""
    async with call.reading() as tx:
        store, secret = await usable(call, tx, request["SecretId"], "GetSecretValue")
        reading = await choose(store, secret.name, stage=request.get("VersionStage"))
        value = Value(await unseal(call, tx, reading, reading), bool(reading.is_binary))
    await note_read(call, reading, reading)
    try:
        found = credential(value, _ENGINES)
    except StepFailed as failed:
        raise InvalidRequestException(f"This is no credential of a database: {failed}.") from failed
    failed_as = await _tried(call, found)
    return {
        "ARN": secret.arn,
        "VersionId": reading.version_id,
        "Username": found.username,
        "Host": found.host,
        "Connected": failed_as is None,
        "Error": failed_as,
    }
