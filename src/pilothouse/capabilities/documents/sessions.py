"""Session documents, as agents parse them: schema 1.0."""

from collections.abc import Mapping
from typing import Any, Final

from pilothouse.capabilities.documents import definitions
from pilothouse.capabilities.documents.places import (
    at,
    known_names,
    optional_mapping,
    optional_text,
    scalar_text,
    text,
    whole_number,
)

FILES: Final = "Pilothouse_File"
"""Our own agent's alone; the official one refuses it."""
TYPES: Final = frozenset({"Standard_Stream", "InteractiveCommands", "NonInteractiveCommands", "Port", FILES})
_TOP: Final = frozenset({"schemaVersion", "description", "sessionType", "inputs", "parameters", "properties"})
_TEXTS: Final = ("s3BucketName", "s3KeyPrefix", "cloudWatchLogGroupName", "kmsKeyId", "runAsDefaultUser")
_SWITCHES: Final = ("s3EncryptionEnabled", "cloudWatchEncryptionEnabled", "runAsEnabled")
_MINUTES: Final[Mapping[str, int]] = {"idleSessionTimeout": 60, "maxSessionDuration": 1440}
_INPUTS: Final = frozenset({*_TEXTS, *_SWITCHES, *_MINUTES, "cloudWatchStreamingEnabled", "shellProfile"})
_SHELLS: Final = frozenset({"linux", "macOS", "windows"})
_TRUTH: Final = frozenset({"", "1", "t", "T", "TRUE", "true", "True", "0", "f", "F", "FALSE", "false", "False"})
"""Texts that agents take for a truth value."""
_PROFILE_MOST: Final = 512


def check(content: Mapping[str, Any]) -> None:
    """Raises InvalidDocumentContent for a document that an agent could not open a session by."""
    known_names("", content, _TOP, others=False)
    optional_text("description", content.get("description"))
    kind = content.get("sessionType")
    if not isinstance(kind, str) or kind not in TYPES:
        raise at("sessionType", f"it must be one of {', '.join(sorted(TYPES))}")
    definitions.check(content.get("parameters"))
    if kind == "Standard_Stream" and content.get("inputs") is None:
        raise at("inputs", "a Standard_Stream needs them")
    _check_inputs(optional_mapping("inputs", content.get("inputs")))
    properties = optional_mapping("properties", content.get("properties"))
    if kind in ("InteractiveCommands", "NonInteractiveCommands"):
        _check_shells(properties)
    elif kind == "Port":
        if properties.get("portNumber") is None:
            raise at("properties.portNumber", "it must be there")
        for name in ("portNumber", "host", "type", "localPortNumber"):
            optional_text(f"properties.{name}", properties.get(name))
    elif kind == FILES:
        for name in ("operation", "path"):
            text(f"properties.{name}", properties.get(name))
        if properties["operation"] not in ("get", "put"):
            raise at("properties.operation", "it must be get or put")
        elevated = properties.get("runAsElevated")
        if elevated is not None and not isinstance(elevated, bool) and not _is_truth(elevated):
            raise at("properties.runAsElevated", "it must be true or false")


def _check_inputs(given: Mapping[str, Any]) -> None:
    known_names("inputs", given, _INPUTS, others=True)
    for name in _TEXTS:
        optional_text(f"inputs.{name}", given.get(name))
    for name in _SWITCHES:
        value = given.get(name)
        if value is not None and not isinstance(value, bool) and not _is_truth(value):
            raise at(f"inputs.{name}", "it must be true or false")
    streaming = given.get("cloudWatchStreamingEnabled")
    if streaming is not None and not isinstance(streaming, bool):
        raise at("inputs.cloudWatchStreamingEnabled", "it must be true or false, without quotes")
    for name, most in _MINUTES.items():
        value = given.get(name)
        written = scalar_text(value) if value is not None else ""
        if written is None or ("{{" not in written and written and not 1 <= (whole_number(written) or 0) <= most):
            raise at(f"inputs.{name}", f"it must be the minutes, from 1 to {most}")
    profile = optional_mapping("inputs.shellProfile", given.get("shellProfile"))
    known_names("inputs.shellProfile", profile, {"linux", "windows"}, others=True)
    for name in ("linux", "windows"):
        optional_text(f"inputs.shellProfile.{name}", profile.get(name))
        if len(profile.get(name) or "") > _PROFILE_MOST:
            raise at(f"inputs.shellProfile.{name}", f"it may have at most {_PROFILE_MOST} characters")


def _is_truth(value: Any) -> bool:
    return isinstance(value, str) and (value in _TRUTH or "{{" in value)


def _check_shells(properties: Mapping[str, Any]) -> None:
    known_names("properties", properties, _SHELLS, others=True)
    if not _SHELLS & set(properties):
        raise at("properties", f"it must say what is run on {', '.join(sorted(_SHELLS))}")
    for name in sorted(_SHELLS & set(properties)):
        place = f"properties.{name}"
        shell = optional_mapping(place, properties[name])
        known_names(place, shell, {"commands", "runAsElevated"}, others=True)
        commands = shell.get("commands")
        for number, line in enumerate(commands if isinstance(commands, list) else ()):
            text(f"{place}.commands[{number}]", line)
        if not isinstance(commands, list):
            text(f"{place}.commands", commands)
        elevated = shell.get("runAsElevated")
        if elevated is not None and not isinstance(elevated, bool) and not _is_truth(elevated):
            raise at(f"{place}.runAsElevated", "it must be true or false")
