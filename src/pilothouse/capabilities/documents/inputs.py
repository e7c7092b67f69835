"""What the plugins that agents know must be told, and in which form.

Only what makes a step fail whatever the values are is refused. Members that a plugin does not know it ignores.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pilothouse.capabilities.documents.places import LONE, PLACEHOLDER, at, known_names, scalar_text, strings

Parameters = Mapping[str, Mapping[str, Any]]

_SCRIPTS: Final = frozenset({"aws:runShellScript", "aws:runPowerShellScript"})
_COLLECTIONS: Final = frozenset({"StringList", "StringMap", "MapList"})
_EXITS: Final[Mapping[str, frozenset[str]]] = {
    "onFailure": frozenset({"exit", "successAndExit"}),
    "onSuccess": frozenset({"exit"}),
}
_FLOW: Final = frozenset({*_EXITS, "finallyStep"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugin:
    """The members of a plugin's inputs."""

    needs: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    """Members that are texts, numbers or truth values."""
    lists: tuple[str, ...] = ()
    maps: tuple[str, ...] = ()
    """Objects, or texts that hold one as JSON."""

    @property
    def known(self) -> frozenset[str]:
        return frozenset({*self.needs, *self.texts, *self.lists, *self.maps, *_FLOW})


_SCRIPT: Final = Plugin(
    needs=("runCommand",),
    texts=("workingDirectory", "timeoutSeconds", "id"),
    lists=("runCommand",),
    maps=("environment",),
)
PLUGINS: Final[Mapping[str, Plugin]] = {
    "aws:applications": Plugin(texts=("action", "parameters", "source", "sourceHash", "sourceHashType")),
    "aws:cloudWatch": Plugin(),
    "aws:configureDaemon": Plugin(texts=("action", "name", "command", "packagelocation")),
    "aws:configureDocker": Plugin(needs=("action",), texts=("action",)),
    "aws:configurePackage": Plugin(
        needs=("name", "action"),
        texts=("name", "action", "version", "installationType", "repository"),
        maps=("additionalArguments",),
    ),
    "aws:domainJoin": Plugin(
        needs=("directoryId", "directoryName"), texts=("directoryId", "directoryName", "directoryOU")
    ),
    "aws:downloadContent": Plugin(
        needs=("sourceType", "sourceInfo"), texts=("sourceType", "destinationPath"), maps=("sourceInfo",)
    ),
    "aws:psModule": Plugin(
        texts=("source", "sourceHash", "sourceHashType", "workingDirectory", "timeoutSeconds", "id"),
        lists=("runCommand",),
    ),
    "aws:refreshAssociation": Plugin(lists=("associationIds",)),
    "aws:runDockerAction": Plugin(
        needs=("action",),
        texts=("action", "container", "image", "cmd", "memory", "cpuShares", "user", "workingDirectory"),
    ),
    "aws:runDocument": Plugin(
        needs=("documentType", "documentPath"), texts=("documentType", "documentPath"), maps=("documentParameters",)
    ),
    "aws:runPowerShellScript": _SCRIPT,
    "aws:runShellScript": _SCRIPT,
    "aws:softwareInventory": Plugin(),
    "aws:updateAgent": Plugin(texts=("agentName", "allowDowngrade", "source", "targetVersion")),
    "aws:updateSsmAgent": Plugin(
        needs=("agentName",), texts=("agentName", "allowDowngrade", "source", "targetVersion")
    ),
}
"""Every plugin that an agent knows. What another name asks for fails on each node."""

_CHOICES: Final[Mapping[tuple[str, str], frozenset[str]]] = {
    ("aws:downloadContent", "sourceType"): frozenset({"GitHub", "Git", "HTTP", "S3", "SSMDocument"}),
    ("aws:runDocument", "documentType"): frozenset({"LocalPath", "SSMDocument"}),
    ("aws:configurePackage", "action"): frozenset({"Install", "Uninstall"}),
    ("aws:configureDocker", "action"): frozenset({"Install", "Uninstall"}),
}


def check_action(place: str, action: str) -> None:
    """Raises InvalidDocumentContent for a plugin that agents do not know."""
    if action not in PLUGINS:
        raise at(place, f"there is no plugin {action}")


def check(place: str, action: str, given: Mapping[str, Any], parameters: Parameters) -> None:
    """The inputs of one run of a plugin. Raises InvalidDocumentContent."""
    plugin = PLUGINS[action]
    known_names(place, given, plugin.known, others=True)
    for name in plugin.needs:
        if given.get(name) is None:
            raise at(f"{place}.{name}", "it must be there")
    for name in plugin.texts:
        _check_text(f"{place}.{name}", given.get(name), parameters)
    for name in plugin.lists:
        _check_list(f"{place}.{name}", given.get(name), parameters)
    for name in plugin.maps:
        _check_map(f"{place}.{name}", given.get(name), parameters)
    if action in _SCRIPTS and given.get("environment") is not None:
        environment = given["environment"]
        if not isinstance(environment, Mapping) and _lone_kind(place, environment, parameters) != "StringMap":
            raise at(f"{place}.environment", "it must be an object, or a parameter of type StringMap")
        for name, value in environment.items() if isinstance(environment, Mapping) else ():
            if not name or "=" in name or value is None:
                raise at(f"{place}.environment.{name}", "it must be the name of a variable, with a text")
            _check_text(f"{place}.environment.{name}", value, parameters)
    if action == "aws:psModule":
        _check_plain(f"{place}.runCommand", given.get("runCommand"), parameters)
    for (its, name), choices in _CHOICES.items():
        value = given.get(name)
        if its == action and isinstance(value, str) and "{{" not in value and value not in choices:
            raise at(f"{place}.{name}", f"it must be one of {', '.join(sorted(choices))}")


def _check_plain(place: str, lines: Any, parameters: Parameters) -> None:
    """A script that can have no variables of its own must not want a value that is kept out of its text."""
    for line in strings(lines):
        for name in PLACEHOLDER.findall(line):
            if parameters.get(name, {}).get("interpolationType") == "ENV_VAR":
                raise at(place, f"the parameter {name} is for environment variables, which this plugin does not set")


def check_flow(place: str, given: Mapping[str, Any], *, last: bool) -> None:
    """What a step says of those after it. Raises InvalidDocumentContent."""
    for name, words in _EXITS.items():
        value = given.get(name)
        if value is not None and not (isinstance(value, str) and ("{{" in value or value in words)):
            raise at(f"{place}.{name}", f"it must be {' or '.join(sorted(words))}")
    finally_step = given.get("finallyStep")
    if finally_step is None:
        return
    written = scalar_text(finally_step)
    if written is None or ("{{" not in written and written.lower() not in ("true", "false")):
        raise at(f"{place}.finallyStep", "it must be true or false")
    if written.lower() == "true" and not last:
        raise at(f"{place}.finallyStep", "only the last step can be the one that always runs")


def _check_text(place: str, value: Any, parameters: Parameters) -> None:
    if value is None:
        return
    if scalar_text(value) is None:
        raise at(place, "it must be a text")
    kind = _lone_kind(place, value, parameters)
    if kind in _COLLECTIONS:
        raise at(place, f"its parameter is of type {kind}, and it must be a text")


def _check_list(place: str, value: Any, parameters: Parameters) -> None:
    if value is None:
        return
    if scalar_text(value) is not None:
        kind = _lone_kind(place, value, parameters)
        if kind in _COLLECTIONS - {"StringList"}:
            raise at(place, f"its parameter is of type {kind}, and it must be a list of texts")
        return
    if not isinstance(value, list):
        raise at(place, "it must be a list of texts")
    for number, item in enumerate(value):
        lone = LONE.fullmatch(item) if isinstance(item, str) else None
        if scalar_text(item) is None:
            raise at(f"{place}[{number}]", "it must be a text")
        kind = parameters.get(lone[1], {}).get("type") if lone else None
        if kind in _COLLECTIONS and (kind != "StringList" or len(value) > 1):
            raise at(f"{place}[{number}]", f"the parameter {lone[1] if lone else ''} is of type {kind}, and no text")


def _check_map(place: str, value: Any, parameters: Parameters) -> None:
    if value is None or isinstance(value, Mapping):
        return
    if not isinstance(value, str):
        raise at(place, "it must be an object")
    kind = _lone_kind(place, value, parameters)
    if kind in {"StringList", "MapList"}:
        raise at(place, f"its parameter is of type {kind}, and it must be an object")


def _lone_kind(place: str, value: Any, parameters: Parameters) -> str | None:
    """The type of the parameter whose value is the whole of this one. Raises InvalidDocumentContent if it has none."""
    lone = LONE.fullmatch(value) if isinstance(value, str) else None
    if lone is None:
        return None
    if lone[1] not in parameters:
        raise at(place, f"the document has no parameter named {lone[1]}")
    return str(parameters[lone[1]].get("type"))
