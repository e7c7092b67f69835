"""What is made of the programs that tell of a Red Hat, which here are some of our own."""

from pathlib import Path

import pytest

from pilothouse_patching.choosing import Patch
from pilothouse_patching.locks import Patience
from pilothouse_patching.rpm import Rpm
from pilothouse_patching.running import ToolFailed

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


DNF5 = r"""#!/bin/sh
echo "$@" >>"$(dirname "$0")/asked"
for each; do case $each in --setopt=system_cachedir=*) cache=${each#--setopt=system_cachedir=} ;; esac; done
case $1 in
makecache)
    mkdir -p "$cache/updates-5deae47301f85462/repodata"
    echo packed >"$cache/updates-5deae47301f85462/repodata/0e93-updateinfo.xml.zck" ;;
advisory | needs-restarting)
    case " $*" in *--skip-file-locks*) [ ! -e "$(dirname "$0")/is-older" ] || exit 2 ;; esac
    cat "$(dirname "$0")/$1"
    [ "$1" = advisory ] || exit 1 ;;
repoquery) cat "$(dirname "$0")/repoquery" ;;
esac
"""
ADVISORIES = r"""[
  {
    "Name":"ALAS-1",
    "Title":"ALAS-1 title",
    "Severity":"Critical",
    "Type":"security",
    "Status":"final",
    "Vendor":"s@example.org",
    "Issued":1767693600,
    "Description":"For trials.",
    "Message":"",
    "Rights":"",
    "references":[
      {
        "Title":"CVE-2026-1",
        "Id":"CVE-2026-1",
        "Type":"cve",
        "Url":"https:\/\/example.org"
      },
      {
        "Title":"b",
        "Id":"12345",
        "Type":"bugzilla",
        "Url":"https:\/\/example.org\/1"
      }
    ],
    "collections":{
      "packages":[
        "ph-sec-1.1-1.noarch",
        "ph-odd-name-2:1.1-1.fc44.x86_64"
      ]
    }
  },
  {
    "Name":"ALAS-2",
    "Severity":"None",
    "Type":"bugfix",
    "Issued":1767693600,
    "references":[
    ],
    "collections":{
      "packages":[
        "ph-bug-1.1-1.noarch"
      ]
    }
  }
]
"""
"""As dnf5 5.4.6 says it, some members left out of the second."""
OFFERED = (
    "ph-bug\t0\t1.1\t1\tnoarch\t_dnf_local_nogpgcheck\t1796058229\n"
    "ph-bug\t0\t1.1\t1\tnoarch\tupdates\t1796058229\n"
    "ph-odd-name\t2\t1.1\t1.fc44\tx86_64\tupdates\t1796058229\n"
    "ph-plain\t0\t1.1\t1\tnoarch\tupdates\t1796058230\n"
    "ph-sec\t0\t1.1\t1\tnoarch\tupdates\t1796058227\n"
)
HERE = (
    "ph-bug\t0\t1.0\t1\tnoarch\nph-odd-name\t2\t1.0\t1.fc44\tx86_64\n"
    "ph-plain\t0\t1.0\t1\tnoarch\nph-sec\t0\t1.0\t1\tnoarch\n"
)
RESTART = """Core libraries or services have been updated since boot-up:
  * glibc

Reboot is required to fully utilize these updates.
More information: https://access.redhat.com/solutions/27943
"""


@pytest.fixture
def dnf5(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with dnf5 alone, and no program that reads what its repository's notices are packed with."""
    programs = {"dnf5": DNF5, "rpm": f"#!/bin/sh\ncat {tmp_path}/here\n"}
    for name, text in (*programs.items(), ("advisory", ADVISORIES), ("repoquery", OFFERED), ("here", HERE)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755 if name in programs else 0o644)
    (tmp_path / "needs-restarting").write_text(RESTART)
    for name in ("sh", "cat", "dirname", "mkdir"):
        (tmp_path / name).symlink_to(f"/bin/{name}")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("pilothouse_patching.rpm._CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.mark.parametrize("older", [False, True])
def test_dnf5_tells_of_notices_itself_where_their_file_cannot_be_unpacked(dnf5: Path, older: bool) -> None:
    """Without waiting for who else is at work, where its version can do so."""
    if older:
        (dnf5 / "is-older").touch()
    system = Rpm([], Patience(1))
    system.refresh()
    assert [each.version for each in system.installed()] == ["1.0-1", "2:1.0-1.fc44", "1.0-1", "1.0-1"]
    offered = {each.name: each for each in system.available()}
    said = {name: (each.classification, each.severity, each.advisories, each.cves) for name, each in offered.items()}
    assert said == {
        "ph-bug": ("Bugfix", "None", ("ALAS-2",), ()),
        "ph-odd-name": ("Security", "Critical", ("ALAS-1",), ("CVE-2026-1",)),
        "ph-plain": ("", "", (), ()),
        "ph-sec": ("Security", "Critical", ("ALAS-1",), ("CVE-2026-1",)),
    }
    assert offered["ph-sec"].bugzillas == ("12345",)
    assert offered["ph-sec"].released == 1767693600
    assert offered["ph-odd-name"].version == "2:1.1-1.fc44"
    assert {each.repository for each in offered.values()} == {"updates"}  # not where dnf5 keeps what it downloaded
    asked = [line.split() for line in (dnf5 / "asked").read_text().splitlines() if line.strip()]
    assert [words[0] for words in asked] == ["makecache", *["advisory"] * (1 + older), "repoquery"]
    assert all(f"--setopt=system_cachedir={dnf5}/cache/dnf" in words for words in asked)  # nothing outdated is believed
    assert [("--skip-file-locks" in words) for words in asked if words[0] == "advisory"] == [True, False][: 1 + older]


def test_notices_that_nobody_can_read_are_a_failure_and_not_the_absence_of_patches(dnf5: Path) -> None:
    (dnf5 / "advisory").write_text("Unknown argument\n")
    with pytest.raises(ToolFailed, match="what dnf5 says of advisories"):
        Rpm([], Patience(1)).refresh()
    (dnf5 / "dnf5").write_text(DNF5.replace("advisory | needs-restarting)", "advisory) exit 2 ;;\nneeds-restarting)"))
    with pytest.raises(ToolFailed, match="unzck is not there"):
        Rpm([], Patience(1)).refresh()


@pytest.mark.parametrize("older", [False, True])
def test_a_reboot_is_due_if_dnf5_says_so_where_needs_restarting_is_no_program(dnf5: Path, older: bool) -> None:
    if older:
        (dnf5 / "is-older").touch()
    assert Rpm([], Patience(1)).reboot_needed([PACKAGE])
    (dnf5 / "needs-restarting").write_text("No such command: needs-restarting.\n")  # its plugin is not installed
    assert not Rpm([], Patience(1)).reboot_needed([PACKAGE])
    assert Rpm([], Patience(1)).reboot_needed([KERNEL])
