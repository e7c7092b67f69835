"""AWS:Service: services of systemd. The official agent has this type on Windows alone."""

from pilothouse_agent.plugins.inventory import Entry
from pilothouse_agent.plugins.inventory.programs import output_of

_PROPERTIES = "Id,Description,ActiveState,RequiredBy,Requires,Type,UnitFileState"


def services() -> list[Entry]:
    """All that are loaded; none where systemd does not run."""
    return of_show(output_of("systemctl", "show", "--type=service", "--all", f"--property={_PROPERTIES}", "*") or "")


def of_show(text: str) -> list[Entry]:
    """The blocks of `systemctl show`."""
    found = []
    for block in text.split("\n\n"):
        values = dict(line.partition("=")[::2] for line in block.splitlines() if "=" in line)
        name = values.get("Id", "")
        if name.endswith(".service"):
            found.append(
                {
                    "Name": name.removesuffix(".service"),
                    "DisplayName": values.get("Description", "")[:1_024],
                    "Status": "Running" if values.get("ActiveState") == "active" else "Stopped",
                    "DependentServices": values.get("RequiredBy", "")[:4_096],
                    "ServicesDependedOn": values.get("Requires", "")[:4_096],
                    "ServiceType": values.get("Type", ""),
                    "StartType": values.get("UnitFileState", ""),
                }
            )
    return sorted(found, key=lambda entry: entry["Name"])
