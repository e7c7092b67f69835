"""AWS:Application and AWS:AWSComponent: packages of dpkg, rpm and snap.

Fields are asked for with separators that no package can hold in a name or a version, one record after the other.
"""

import time

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


def applications() -> list[Entry]:
    """Of all package managers that are here."""
    found = [
        *of_dpkg(output_of("dpkg-query", "-W", f"-f={_DPKG_FORMAT}") or ""),
        *of_rpm(output_of("rpm", "-qa", "--queryformat", _RPM_FORMAT) or ""),
    ]
    if any(entry["Name"] == "snapd" for entry in found):
        found += of_snap(output_of("snap", "list") or "")
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


def of_dpkg(text: str) -> list[Entry]:
    """Installed packages; those that were removed and left their configuration do not count."""
    found = []
    for values in _records(text, len(_DPKG)):
        entry = dict(zip(_DPKG, values, strict=True))
        if entry.pop("Status") != "installed":
            continue
        package = f"{entry['Name']}_{entry['Version']}_{entry['Architecture']}.deb"
        found.append(_entry({**entry, "PackageId": package}))
    return found


def of_rpm(text: str) -> list[Entry]:
    found = []
    for values in _records(text, len(_RPM)):
        entry = {name: "" if value == "(none)" else value for name, value in zip(_RPM, values, strict=True)}
        if entry["InstalledTime"].isdigit():
            entry["InstalledTime"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(int(entry["InstalledTime"])))
        found.append(_entry(entry))
    return found


def of_snap(text: str) -> list[Entry]:
    """The table of `snap list`, its heading left out."""
    found = []
    for line in text.splitlines()[1:]:
        words = line.split()
        if len(words) >= 6:
            name, version, publisher = words[0], words[1], words[4]
            package = f"pkg:snap/{publisher}/{name}@{version}"
            found.append(
                _entry({
                    "Name": name, "Publisher": publisher, "Version": version, "ApplicationType": "admin",
                    "Architecture": "", "PackageId": package,
                })
            )  # fmt: skip
    return found


def _records(text: str, fields: int) -> list[list[str]]:
    records = (record.split(_FIELD) for record in text.split(_RECORD))
    return [values for values in records if len(values) == fields]


def _entry(values: Entry) -> Entry:
    """First lines only; optional members that are empty are left out."""
    lines = {name: (value.strip().splitlines() or [""])[0][:1_024] for name, value in values.items()}
    lines["Architecture"] = _ARCHITECTURES.get(lines["Architecture"], lines["Architecture"])
    return {name: value for name, value in lines.items() if value or name not in _OPTIONAL}
