"""Rotators, each kind in a file of its own, and the names by which a RotationLambdaARN asks for one.

pilothouse:NAME                         NAME is one of BUILT_IN
arn:...:function:FUNCTION               FUNCTION is `pilothouse-NAME`, or contains the name of one of the cloud's
                                        templates, such as SecretsManagerRDSPostgreSQLRotationSingleUser
arn:...:function:FUNCTION               any other: invoked at [secrets] lambda_endpoint
hook:https://..., https://...           a hook, signed with the secret of [secrets] hook_secret_file; the aws CLI
                                        fetches by itself what begins with https://
ssm-command:DOCUMENT@NODE               a command on a node
ssm-automation:DOCUMENT                 a runbook
"""

import re
from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final

from pilothouse.call import House
from pilothouse.capabilities.secrets.rotators import hook, node_work
from pilothouse.capabilities.secrets.rotators.database import DatabaseUser
from pilothouse.capabilities.secrets.rotators.rotator import Done, Rotator, StepFailed, Value, Waiting, Work
from pilothouse.runtime.outbound import OutboundFailed

__all__ = ["BUILT_IN", "Done", "Rotator", "StepFailed", "Value", "Waiting", "Work", "database_user", "rotator_of"]

BUILT_IN: Final[Mapping[str, tuple[str, str]]] = {
    "postgresql": ("postgresql", "SingleUser"),
    "postgresql-alternating": ("postgresql", "Alternating"),
    "mysql": ("mysql", "SingleUser"),
    "mysql-alternating": ("mysql", "Alternating"),
    "mariadb": ("mysql", "SingleUser"),
    "mariadb-alternating": ("mysql", "Alternating"),
    "mongodb": ("mongodb", "SingleUser"),
    "mongodb-alternating": ("mongodb", "Alternating"),
    "redis": ("redis_acl", "AclUser"),
    "random": ("random_password", "RandomPassword"),
}
"""Module and class. Drivers take memory, so a module is loaded when somebody asks for it."""
_TEMPLATES: Final = {
    "PostgreSQLRotationSingleUser": "postgresql",
    "PostgreSQLRotationMultiUser": "postgresql-alternating",
    "MySQLRotationSingleUser": "mysql",
    "MySQLRotationMultiUser": "mysql-alternating",
    "MariaDBRotationSingleUser": "mariadb",
    "MariaDBRotationMultiUser": "mariadb-alternating",
    "MongoDBRotationSingleUser": "mongodb",
    "MongoDBRotationMultiUser": "mongodb-alternating",
    "ElasticacheRotation": "redis",
    "SecretsManagerRotationTemplate": "random",
}
_FUNCTION: Final = re.compile(
    r"arn:aws[a-z-]*:lambda:[a-z0-9-]+:\d{12}:function:([A-Za-z0-9_-]{1,140})(?::[\w$-]{1,128})?"
)
_COMMAND: Final = re.compile(r"ssm-command:([A-Za-z0-9_.-]{3,128})@((?:mi|i)-[0-9a-f]{8,17})")
_RUNBOOK: Final = re.compile(r"ssm-automation:([A-Za-z0-9_.-]{3,128})")


def rotator_of(house: House, function: str) -> Rotator | None:
    """Who rotates by this name; None for a name that nobody has, or that cannot be called here."""
    if function.startswith("pilothouse:"):
        return _built_in(function.removeprefix("pilothouse:"))
    url = function.removeprefix("hook:")
    if url.startswith(("https://", "http://")):
        try:
            return hook.Hook(house, url) if house.settings.secrets.hook_secret_file else None
        except OutboundFailed:
            return None
    if found := _COMMAND.fullmatch(function):
        return node_work.NodeCommand(found[1], found[2])
    if found := _RUNBOOK.fullmatch(function):
        return node_work.Runbook(found[1]) if house.inside.answers("ssm", "StartAutomationExecution") else None
    found = _FUNCTION.fullmatch(function)
    if found is None:
        return None
    if found[1].startswith("pilothouse-"):
        return _built_in(found[1].removeprefix("pilothouse-"))
    for template, name in _TEMPLATES.items():
        if template in found[1]:
            return _built_in(name)
    if not house.settings.secrets.lambda_endpoint:
        return None
    made: Rotator = _module("aws_lambda").Function(house, function)
    return made


def database_user(name: str) -> DatabaseUser:
    """The rotator of that name in BUILT_IN, which must be one of a database."""
    made = _built_in(name)
    assert isinstance(made, DatabaseUser)
    return made


def _module(name: str) -> Any:
    return import_module(f"{__name__}.{name}")


def _built_in(name: str) -> Rotator | None:
    found = BUILT_IN.get(name)
    if found is None:
        return None
    module, kind = found
    made: Rotator = getattr(_module(module), kind)()
    return made
