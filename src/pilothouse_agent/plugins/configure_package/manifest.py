"""The manifest of a package: which file is for which machine. Pure; the format is in docs/reference/packages.md."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pilothouse_agent.plugins.configure_package.platforms import Platform
from pilothouse_agent.plugins.supervisor import WorkFailed

_ANY = "_any"
_VERSION = re.compile(r"(?!\.+\Z)[A-Za-z0-9_.+-]{1,128}\Z")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The file for this machine."""

    version: str  # of the package
    file: str
    sha256: str
    size: int | None


def choose(content: str, platform: Platform) -> Chosen:
    """Raises WorkFailed, which says what is wrong with the manifest or what it is for."""
    try:
        manifest = json.loads(content)
    except ValueError as error:
        raise WorkFailed("the manifest of the package is no JSON") from error
    manifest = _object(manifest, "the manifest")
    if manifest.get("schemaVersion") != "2.0":
        raise WorkFailed(f"schemaVersion {manifest.get('schemaVersion')!r} of the manifest is not supported")
    version = manifest.get("version")
    if not isinstance(version, str) or not _VERSION.match(version):
        raise WorkFailed("the manifest has no usable version")
    packages = _object(manifest.get("packages"), "packages of the manifest")
    by_version = _of_machine(packages, platform.name)
    by_architecture = _of_machine(by_version, platform.version)
    entry = _of_machine(by_architecture, platform.architecture)
    if not entry:
        raise WorkFailed(
            f"the package has no file for {platform.name} {platform.version} {platform.architecture}; "
            f"it is for {', '.join(sorted(map(str, packages)))}"
        )
    file = str(entry.get("file") or "")
    facts = _object(_object(manifest.get("files"), "files of the manifest").get(file), f"the file {file}")
    checksums = _object(facts.get("checksums"), f"the checksums of {file}")
    sha256 = str(checksums.get("sha256") or "").lower()
    if not file or not _SHA256.match(sha256):
        raise WorkFailed(f"the manifest has no SHA-256 of {file}")
    size = facts.get("size")
    return Chosen(version=version, file=file, sha256=sha256, size=size if isinstance(size, int) else None)


def _of_machine(table: Mapping[str, Any], value: str) -> Mapping[str, Any]:
    """The entry for the value: named so, or with the longest beginning (`7.*`), or for any."""
    fitting = [name for name in table if name.endswith("*") and value.startswith(name[:-1])]
    for name in (value, *sorted(fitting, key=len, reverse=True), _ANY):
        if name in table:
            return _object(table[name], f"{name} in the manifest")
    return {}


def _object(value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise WorkFailed(f"{what} is no object")
    return value
