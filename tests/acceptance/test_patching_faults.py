"""Faults while machines are patched, the same for each family: nothing is half reported, and the next run recovers."""

import contextlib
import datetime
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.acceptance.installation import Installation, eventually, installation
from tests.acceptance.patched import DEBIAN, ROCKY, SUSE, Patched, rule
from tests.acceptance.roots import AptRepository, Root, RpmRepository, machine, notice

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="machines inside this one are made by root")
ONCE = "[ -e /var/lib/killed ] || { touch /var/lib/killed; kill -9 0; }"
"""A package's script that kills all that installs it, the first time."""
WAITS = "touch /var/lib/at-work; while [ -e /var/lib/at-work ]; do sleep 0.1; done"
"""One that goes on until somebody lets it."""
HOLDS = """
import fcntl, os, sys, time
file = open(sys.argv[1], "w")
fcntl.lockf(file, fcntl.LOCK_EX)
print(os.getpid(), file=file, flush=True)
open("/var/lib/at-work", "w").close()
while os.path.exists("/var/lib/at-work"):
    time.sleep(0.1)
"""
"""A program that does the same with a lock, whose file names it."""
OLD = ("ph-big", "ph-slow", "ph-needy", "ph-locked")
"""What is installed at first."""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Its nodes wait for locks no longer than they must."""
    folder = tmp_path_factory.mktemp("house")
    (folder / "data").mkdir(mode=0o700)
    (folder / "data" / "pilothouse.toml").write_text("[patches]\nlock_seconds = 1\n")
    with installation(folder) as made:
        yield made


class Family:
    """What one kind of system has of its own; what it offers mends a hole."""

    name: str
    system: str
    release: ClassVar[dict[str, str]]
    everything: ClassVar[dict[str, Any]]
    """A rule that approves all that is offered."""
    counted: str
    """Counts what is installed."""
    at_work: ClassVar[dict[str, tuple[str, ...]]]
    """Ways to hold locks until somebody lets go, by installing the package file $file or so; what fails meanwhile."""
    data: tuple[Path, ...]
    """What the repository cannot be read without."""

    def prepare(self, root: Root) -> None:
        """The old packages are there, and nothing newer."""
        raise NotImplementedError

    def build(self, name: str, version: str, *, script: str = "", kilobytes: int = 0) -> Path:
        """A package's file; not offered yet."""
        raise NotImplementedError

    def offer(self, name: str, *, script: str = "", kilobytes: int = 0) -> None:
        """A newer version of a package."""
        raise NotImplementedError

    def offer_what_does_not_go(self, name: str) -> None:
        """A newer version that could only be there if another package went."""
        raise NotImplementedError

    def id(self, name: str) -> str:
        """Of its patch."""
        raise NotImplementedError

    def version(self, root: Root, name: str) -> str:
        """What is installed of it."""
        raise NotImplementedError


class Apt(Family):
    """Debian and its kin."""

    name, system, release = "debian", "DEBIAN", DEBIAN
    everything = rule(("PRIORITY", ["*"]))
    counted = "dpkg-query -W -f '${db:Status-Abbrev}\\n' | grep -c ^ii"
    at_work: ClassVar = {
        "apt-get install -y $file": ("Install",),
        "dpkg -i $file": ("Install",),
        f"python3 -c '{HOLDS}' /var/lib/apt/lists/lock": ("Scan", "Install"),
    }

    def __init__(self, folder: Path) -> None:
        self._made = AptRepository(folder)
        self._old = [self.build(name, "1.0") for name in OLD]
        self.data = (folder / "dists/bookworm-security/main/binary-amd64/Packages",)

    def prepare(self, root: Root) -> None:
        root.run("dpkg -i " + " ".join(map(str, self._old)))
        self._made.publish("bookworm-security")
        self._made.use(root, "bookworm-security")

    def build(self, name: str, version: str, *, script: str = "", kilobytes: int = 0) -> Path:
        return self._made.package(name, version, postinst=script, kilobytes=kilobytes)

    def offer(self, name: str, *, script: str = "", kilobytes: int = 0) -> None:
        self._made.publish("bookworm-security", self.build(name, "1.1", script=script, kilobytes=kilobytes))

    def offer_what_does_not_go(self, name: str) -> None:
        self._made.publish("bookworm-security", self._made.package(name, "1.1", conflicts="ph-big"))

    def id(self, name: str) -> str:
        return f"{name}.all"

    def version(self, root: Root, name: str) -> str:
        return root.run(f"dpkg-query -W -f '${{Version}}' {name}; dpkg --audit")


class Rpm(Family):
    """Red Hat and its kin."""

    name, system, release = "rocky", "ROCKY_LINUX", ROCKY
    everything = rule(("CLASSIFICATION", ["Security"]))
    counted = "rpm -qa --qf '%{NAME}\\n' | grep -vc ^gpg-pubkey"
    at_work: ClassVar = {
        "dnf -q -y --nogpgcheck install $file": ("Install",),
        "rpm -U --force $file": ("Install",),
        **{
            f"python3 -c '{HOLDS}' {lock}": ("Install",)
            for lock in ("/var/run/yum.pid", "/run/dnf/rpmtransaction.lock")
        },
    }

    def __init__(self, folder: Path) -> None:
        self._made = RpmRepository(folder)
        self._old = [self.build(name, "1.0") for name in OLD]
        self._old.append(folder / self._made.package("ph-shell", "1.0", provides="/bin/sh"))
        self._notices: list[str] = []
        self.data = (folder, folder / "repodata")

    def prepare(self, root: Root) -> None:
        self._made.publish()
        self._made.use(root)
        root.run("mkdir -p /run/dnf")  # as dnf5 has it
        root.run("rpm -i --nodeps " + " ".join(map(str, self._old)))

    def build(self, name: str, version: str, *, script: str = "", kilobytes: int = 0) -> Path:
        return self._made.folder / self._made.package(name, version, post=script, kilobytes=kilobytes)

    def offer(self, name: str, *, script: str = "", kilobytes: int = 0, requires: str = "") -> None:
        self._made.package(name, "1.1", post=script, kilobytes=kilobytes, requires=requires)
        today = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
        self._notices.append(notice(f"PH-{name}", (name, "1.1", "1"), date=f"{today:%Y-%m-%d %H:%M:%S}"))
        self._made.publish(*self._notices)

    def offer_what_does_not_go(self, name: str) -> None:
        """It needs what is nowhere: it could only be left out, or the old one removed."""
        self.offer(name, requires="ph-nowhere")

    def id(self, name: str) -> str:
        return f"{name}.noarch"

    def version(self, root: Root, name: str) -> str:
        return root.run(f"rpm -q --qf '%{{VERSION}}' {name}")


class Zypp(Rpm):
    """SUSE and its kin, which know patches beside packages."""

    name, system, release = "suse", "SUSE", SUSE
    at_work: ClassVar = {
        "zypper --non-interactive --no-gpg-checks install --allow-unsigned-rpm $file": ("Scan", "Install"),
    }

    def id(self, name: str) -> str:
        return f"PH-{name}"


@pytest.fixture(scope="module", params=[Apt, Rpm, Zypp], ids=lambda each: str(each.name))
def family(request: pytest.FixtureRequest, house: Installation) -> Family:
    made: Family = request.param(house.folder / request.param.name)
    return made


@pytest.fixture(scope="module")
def node(family: Family, house: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Patched]:
    folder = tmp_path_factory.mktemp("machines")
    with machine(house, folder, family.name, release=family.release) as (root, agent):
        family.prepare(root)
        agent.start()
        house.connected(agent)
        made = Patched(house, root, agent)
        made.baseline(family.system, ApprovalRules=family.everything)
        yield made


def test_a_repository_that_cannot_be_read_changes_nothing(node: Patched, family: Family) -> None:
    node.done("Scan")
    before = node.state()
    for path in family.data:
        away = path.rename(path.with_suffix(".away"))
        for operation in ("Scan", "Install"):
            failed = node.run(operation)
            assert (failed["Status"], failed["ResponseCode"]) == ("Failed", 2), failed
            assert "patching: " in failed["StandardErrorContent"]
        away.rename(path)
        assert node.state() == before
    node.done("Scan")


def test_no_space_is_a_failed_patch_until_there_is_some(node: Patched, family: Family) -> None:
    family.offer("ph-big", kilobytes=1024)
    wanted = family.id("ph-big")
    node.root.run("mount -t tmpfs -o size=128k none /usr/share/ph-big")
    failed = node.run("Install", RebootOption="NoReboot")
    assert (failed["Status"], failed["ResponseCode"]) == ("Failed", 1), failed["StandardErrorContent"]
    assert "could not be installed" in failed["StandardErrorContent"]
    assert node.patches(wanted) == {wanted: "FAILED"}
    assert (node.state()["FailedCount"], node.state()["MissingCount"]) == (1, 0)
    node.root.run("umount /usr/share/ph-big")
    assert family.version(node.root, "ph-big").startswith("1.0")
    node.done("Install", RebootOption="NoReboot")
    assert family.version(node.root, "ph-big") == "1.1"
    assert node.patches(wanted) == {wanted: "INSTALLED"}


def test_an_install_that_is_killed_is_brought_to_its_end_by_the_next(node: Patched, family: Family) -> None:
    family.offer("ph-slow", script=ONCE)
    wanted = family.id("ph-slow")
    node.done("Scan")
    assert node.run("Install", RebootOption="NoReboot")["Status"] == "Failed"
    assert node.root.run("ls /var/lib/killed")
    state = node.state()
    assert node.patches(wanted)[wanted] in ("FAILED", "MISSING")  # as before where the run itself was killed
    assert state["FailedCount"] + state["MissingCount"] == 1

    def installed() -> bool:
        """What the killed one had begun may hold its lock a little longer."""
        got = node.run("Install", RebootOption="NoReboot")
        assert got["Status"] == "Success" or "database is locked" in got["StandardErrorContent"], got
        return bool(got["Status"] == "Success")

    eventually(installed, what="the end of what was killed")
    assert family.version(node.root, "ph-slow").endswith("1.1")  # rpm may also still know the older one, as dnf left it
    assert node.patches(wanted) == {wanted: "INSTALLED"}
    state = node.state()
    assert (state["MissingCount"], state["FailedCount"]) == (0, 0)


@contextlib.contextmanager
def at_work(node: Patched, family: Family, way: str) -> Iterator[None]:
    """Somebody installs a package meanwhile."""
    holder = subprocess.Popen(
        node.root.enter("sh", "-ec", way.replace("$file", str(family.build("ph-holder", "1.0", script=WAITS)))),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        eventually(
            lambda: holder.poll() is not None or node.root.run("ls /var/lib/at-work || true").startswith("/var"),
            what="the other one's lock",
        )
        assert holder.poll() is None, holder.communicate()[0]
        yield
    finally:
        node.root.run("rm -f /var/lib/at-work")
        said = holder.communicate(timeout=60)[0]
    assert holder.returncode == 0, said


def test_a_locked_package_database_is_said_and_nothing_changes(node: Patched, family: Family) -> None:
    """Whichever program holds it; what was waited for is what the installation says."""
    family.offer("ph-locked")
    wanted = family.id("ph-locked")
    node.done("Scan")
    before = node.state()
    assert node.patches(wanted) == {wanted: "MISSING"}
    for way, failing in family.at_work.items():
        with at_work(node, family, way):
            for operation in failing:
                failed = node.run(operation, RebootOption="NoReboot")
                assert (failed["Status"], failed["ResponseCode"]) == ("Failed", 2), failed
                said = failed["StandardErrorContent"]
                assert "patching: the package database is locked: " in said, said
                assert "after 1 seconds of waiting nothing was done" in said
                assert f"{way.split()[0]} (" in said
            assert node.state() == before
            assert family.version(node.root, "ph-locked").startswith("1.0")
            if "Scan" not in failing:  # reading needs no lock
                node.done("Scan")
                before = node.state()
    node.done("Install", RebootOption="NoReboot")
    assert family.version(node.root, "ph-locked") == "1.1"
    assert node.patches(wanted) == {wanted: "INSTALLED"}


def test_counts_are_those_of_the_package_database(node: Patched, family: Family) -> None:
    node.done("Scan")
    state = node.state()
    told = sum(state[name] for name in ("InstalledCount", "InstalledOtherCount", "InstalledPendingRebootCount"))
    patches = [name for name in node.patches() if name.startswith("PH-")]  # zypper's, beside the packages
    assert told - len(patches) == int(node.root.run(family.counted))


def test_what_does_not_go_is_a_failed_patch_and_removes_nothing(node: Patched, family: Family) -> None:
    family.offer_what_does_not_go("ph-needy")
    wanted = family.id("ph-needy")
    failed = node.run("Install", RebootOption="NoReboot")
    assert (failed["Status"], failed["ResponseCode"]) == ("Failed", 1), failed["StandardOutputContent"]
    assert node.patches(wanted) == {wanted: "FAILED"}
    assert family.version(node.root, "ph-needy").startswith("1.0")
    assert family.version(node.root, "ph-big") == "1.1"
