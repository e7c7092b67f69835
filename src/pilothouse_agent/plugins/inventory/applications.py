"""AWS:Application and AWS:AWSComponent: packages of dpkg, rpm, apk and snap, from the systems' own databases.

Fields are asked for with separators that no package can hold in a name or a version, one record after the other.
"""

import contextlib
import http.client
import json
import socket
import time
from pathlib import Path

from pilothouse_agent import AGENT_VERSION
from pilothouse_agent.plugins.inventory import Entry
from pilothouse_agent.plugins.inventory.programs import output_of

_FIELD, _RECORD = "\x1f", "\x1e"
_DPKG = ("Name", "Publisher", "Version", "ApplicationType", "Architecture", "URL", "Summary", "Status")
_DPKG_FORMAT = "\x1f".join(
    ("${Package}", "${Maintainer}", "${Version}", "${Section}", "${Architecture}", "${Homepage}",
     "${binary:Summary}", "${db:Status-Status}")
) + "\x1e"  # fmt: skip
_RPM = (
    "Name", "Publisher", "Version", "Release", "Epoch", "InstalledTime", "ApplicationType", "Architecture", "URL",
    "Summary", "PackageId",
)  # fmt: skip
_RPM_FORMAT = "\x1f".join(
    ("%{NAME}", "%{VENDOR}", "%{VERSION}", "%{RELEASE}", "%{EPOCH}", "%{INSTALLTIME}", "%{GROUP}", "%{ARCH}", "%{URL}",
     "%{SUMMARY}", "%{SOURCERPM}")
) + "\x1e"  # fmt: skip
_ARCHITECTURES = {"amd64": "x86_64", "aarch64": "arm64", "i686": "i386", "386": "i386"}
_OPTIONAL = ("Release", "Epoch", "InstalledTime", "ApplicationType", "URL", "Summary", "PackageId")


_DPKG_INFO = Path("/var/lib/dpkg/info")
_APK = Path("/lib/apk/db/installed")
_APK_FIELDS = {
    "P": "Name", "V": "Version", "A": "Architecture", "T": "Summary", "U": "URL", "m": "Publisher", "o": "PackageId",
}  # fmt: skip
_SNAPD = "/run/snapd.socket"
_MOST = 16 * 1024 * 1024


def applications() -> list[Entry]:
    """Of all package managers that are here."""
    found = [
        *of_dpkg(output_of("dpkg-query", "-W", f"-f={_DPKG_FORMAT}") or "", _DPKG_INFO),
        *of_rpm(output_of("rpm", "-qa", "--queryformat", _RPM_FORMAT) or ""),
    ]
    with contextlib.suppress(OSError):
        found += of_apk(_APK.read_text("utf-8", "replace"))
    if Path(_SNAPD).exists():
        found += of_snap(_snaps())
    return sorted(found, key=lambda entry: (entry["Name"], entry["Version"], entry["Architecture"]))


def components() -> list[Entry]:
    """What of it manages this machine for somebody in the cloud, and this agent."""
    found = [
        entry for entry in applications() if entry["Name"].startswith(("amazon-", "aws-")) or entry["Name"] == "awscli"
    ]
    return [
        *found,
        {"Name": "pilothouse-agent", "Publisher": "Pilothouse", "Version": AGENT_VERSION, "Architecture": ""},
    ]


def of_dpkg(text: str, info: Path) -> list[Entry]:
    """Installed packages; those that were removed and left their configuration do not count.

    When one was installed is when its list of files was written.
    """
    found = []
    for values in _records(text, len(_DPKG)):
        entry = dict(zip(_DPKG, values, strict=True))
        if entry.pop("Status") != "installed":
            continue
        name, architecture = entry["Name"], entry["Architecture"]
        package = f"{name}_{entry['Version']}_{architecture}.deb"
        found.append(_entry({**entry, "InstalledTime": _listed(info, name, architecture), "PackageId": package}))
    return found


def _listed(info: Path, name: str, architecture: str) -> str:
    if "/" in name or "/" in architecture:
        return ""
    for file in (f"{name}.list", f"{name}:{architecture}.list"):
        with contextlib.suppress(OSError, ValueError):
            return _moment((info / file).stat().st_mtime)
    return ""


def _moment(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


def of_rpm(text: str) -> list[Entry]:
    found = []
    for values in _records(text, len(_RPM)):
        entry = {name: "" if value == "(none)" else value for name, value in zip(_RPM, values, strict=True)}
        if entry["InstalledTime"].isdigit():
            entry["InstalledTime"] = _moment(int(entry["InstalledTime"]))
        found.append(_entry(entry))
    return found


def of_apk(text: str) -> list[Entry]:
    """The database of apk: blocks of lines, each with a letter for its field."""
    found = []
    for block in text.split("\n\n"):
        values = dict(line.partition(":")[::2] for line in block.splitlines() if line[1:2] == ":")
        entry = {name: values.get(letter, "") for letter, name in _APK_FIELDS.items()}
        if entry["Name"] and entry["Version"]:
            found.append(
                _entry({**entry, "PackageId": f"{entry['PackageId'] or entry['Name']}-{entry['Version']}.apk"})
            )
    return found


def of_snap(text: str) -> list[Entry]:
    """What snapd answers when it is asked for snaps."""
    try:
        answer = json.loads(text)
        snaps = [each for each in answer["result"] if isinstance(each, dict)]
    except (ValueError, KeyError, TypeError):
        return []
    found = []
    for each in snaps:
        name, version = str(each.get("name") or ""), str(each.get("version") or "")
        publisher = each.get("publisher")
        who = str(publisher.get("username") or "") if isinstance(publisher, dict) else ""
        if name and version:
            found.append(
                _entry({
                    "Name": name, "Publisher": who, "Version": version, "ApplicationType": "admin", "Architecture": "",
                    "InstalledTime": str(each.get("install-date") or ""), "Summary": str(each.get("summary") or ""),
                    "PackageId": f"pkg:snap/{who}/{name}@{version}",
                })
            )  # fmt: skip
    return found


class _Snapd(http.client.HTTPConnection):
    """Speaks to the daemon on its socket, as the command `snap` does."""

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(_SNAPD)


def _snaps() -> str:
    daemon = _Snapd("localhost")
    try:
        daemon.request("GET", "/v2/snaps")
        return daemon.getresponse().read(_MOST).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException):
        return ""
    finally:
        daemon.close()


def _records(text: str, fields: int) -> list[list[str]]:
    records = (record.split(_FIELD) for record in text.split(_RECORD))
    return [values for values in records if len(values) == fields]


def _entry(values: Entry) -> Entry:
    """First lines only; optional members that are empty are left out."""
    lines = {name: (value.strip().splitlines() or [""])[0][:1_024] for name, value in values.items()}
    lines["Architecture"] = _ARCHITECTURES.get(lines["Architecture"], lines["Architecture"])
    return {name: value for name, value in lines.items() if value or name not in _OPTIONAL}
