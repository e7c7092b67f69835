"""The page of patches counts what its words say."""

from typing import Any

from pilothouse.cli.patch_page import page_of


def row(name: str, **members: Any) -> dict[str, Any]:
    return {
        "NodeId": f"mi-{name}", "Name": name, "Platform": "Debian 12", "PatchGroup": "prod", "Compliant": False,
        "At": "2026-03-10 12:00", "Oldest": None, "OldestDays": None, "Critical": 0, "Missing": 0, "Failed": 0,
        "PendingReboot": 0, "Rejected": 0, "Installed": 0, "InstalledOther": 0, **members,
    }  # fmt: skip


def test_what_waits_for_a_reboot_is_not_missing() -> None:
    page = page_of([
        row("waits", PendingReboot=2, Critical=2), row("rejects", Rejected=1), row("fine", Compliant=True, Installed=3)
    ])  # fmt: skip
    assert "<b>33 %</b>of scanned nodes are compliant" in page
    assert "<b>0</b>patches are missing" in page
    assert "<b>2</b>critical patches are not compliant" in page
    assert "lack" not in page.partition("<h2>All nodes</h2>")[2]
    assert page.count(">not compliant, critical<") == page.count(">not compliant<") == 2  # in the chart and the table
