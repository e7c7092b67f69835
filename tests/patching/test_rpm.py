"""What is made of the programs that tell of a Red Hat, which here are some of our own."""

from pathlib import Path

import pytest

from pilothouse_patching.choosing import Patch
from pilothouse_patching.locks import Patience
from pilothouse_patching.rpm import Rpm

PACKAGE, KERNEL = Patch("ph-lib", "noarch", "1.1-1"), Patch("kernel-core", "x86_64", "5.14-1")


@pytest.mark.parametrize(
    ("says", "package", "kernel"),
    [
        ("echo 'No core libraries or services have been updated.'; exit 0", False, False),
        ("echo 'Reboot is required to fully utilize these updates.'; exit 1", True, True),
        ("echo 'No such command: needs-restarting.' >&2; exit 1", False, True),
        ("echo 'Traceback' >&2; exit 2", False, True),
    ],
)
def test_a_reboot_is_due_if_needs_restarting_says_so_and_not_if_it_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str, package: bool, kernel: bool
) -> None:
    """Where it has nothing to say, it is after a kernel."""
    for name in ("dnf", "needs-restarting"):
        (tmp_path / name).write_text(f"#!/bin/sh\n{says}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    system = Rpm([], Patience(1))
    assert (system.reboot_needed([PACKAGE]), system.reboot_needed([PACKAGE, KERNEL])) == (package, kernel)
