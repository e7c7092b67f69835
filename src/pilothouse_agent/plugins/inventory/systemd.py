"""AWS:Service: services of systemd. The official agent has this type on Windows alone.

The members are those of Windows: what a service depends on, and what depends on it, are services too, by name and with
spaces between. `ServiceType` and `StartType` are in systemd's own words (`notify`, `enabled`, `static`, `masked`).
"""

import re

from pilothouse_agent.plugins.inventory import Entry
from pilothouse_agent.plugins.inventory.programs import output_of

_PROPERTIES = "Id,Description,LoadState,ActiveState,Requires,Requisite,BindsTo,Type,UnitFileState"
_NEEDS = ("Requires", "Requisite", "BindsTo")
_STATUS = {
    "active": "Running", "reloading": "Running", "refreshing": "Running", "activating": "StartPending",
    "deactivating": "StopPending",
}  # fmt: skip
_AT_ONCE = 200
_LONGEST = 4_096
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"|(\S+)')


def services() -> list[Entry]:
    """All that are installed, loaded or not, and those that systemd made itself; none where it does not run.

    Templates are no services, their instances are; a service with several names has one entry.
    """
    loaded = output_of("systemctl", "list-units", "--type=service", "--all", "--full", "--plain", "--no-legend")
    if loaded is None:
        return []
    files = output_of("systemctl", "list-unit-files", "--type=service", "--full", "--no-legend")
    names = names_of(loaded) | names_of(files or "")
    wanted = sorted(names)
    shown = [
        output_of("systemctl", "show", f"--property={_PROPERTIES}", "--", *wanted[at : at + _AT_ONCE]) or ""
        for at in range(0, len(wanted), _AT_ONCE)
    ]
    return of_show("\n".join(shown))


def names_of(listed: str) -> set[str]:
    """The services of `list-units` or `list-unit-files`."""
    firsts = (line.split()[0] for line in listed.splitlines() if line.strip())
    return {name for name in firsts if name.endswith(".service") and not name.endswith("@.service")}


def of_show(text: str) -> list[Entry]:
    """The blocks of `systemctl show`. A name that only another unit speaks of is no service that is here."""
    found: dict[str, Entry] = {}
    needs: dict[str, set[str]] = {}
    for block in re.split(r"\n{2,}", text):
        values = dict(line.partition("=")[::2] for line in block.splitlines() if "=" in line)
        name = values.get("Id", "")
        if not name.endswith(".service") or values.get("LoadState") == "not-found":
            continue
        name = name.removesuffix(".service")
        needs[name] = {
            word.removesuffix(".service")
            for need in _NEEDS
            for word in _words(values.get(need, ""))
            if word.endswith(".service")
        }
        found[name] = {
            "Name": name,
            "DisplayName": values.get("Description", "")[:1_024],
            "Status": _STATUS.get(values.get("ActiveState", ""), "Stopped"),
            "ServiceType": values.get("Type", ""),
            "StartType": values.get("UnitFileState", ""),
        }
    for name, entry in found.items():
        entry["ServicesDependedOn"] = _joined(needs[name])
        entry["DependentServices"] = _joined({other for other, its in needs.items() if name in its})
    return [found[name] for name in sorted(found)]


def _words(text: str) -> list[str]:
    """Names, of which those with a backslash stand in quotation marks and have two."""
    return [re.sub(r"\\(.)", r"\1", quoted) if quoted else plain for quoted, plain in _QUOTED.findall(text)]


def _joined(names: set[str]) -> str:
    """With spaces between them; a name that would be beyond the longest value is left out."""
    text = ""
    for name in sorted(names):
        if len(text) + 1 + len(name) <= _LONGEST:
            text = f"{text} {name}".lstrip()
    return text
