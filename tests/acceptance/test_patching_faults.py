"""Faults while machines are patched, the same for each family: nothing is half reported, and the next run recovers."""

import datetime
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.acceptance.installation import Installation, installation
from tests.acceptance.patched import DEBIAN, ROCKY, SUSE, Patched, rule
from tests.acceptance.roots import AptRepository, Root, RpmRepository, machine, notice

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="machines inside this one are made by root")
ONCE = "[ -e /var/lib/killed ] || { touch /var/lib/killed; kill -9 0; }"
"""A package's script that kills all that installs it, the first time."""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with installation(tmp_path_factory.mktemp("house")) as made:
        yield made


class Apt:
    """Debian and its kin."""

    name, system, release = "debian", "DEBIAN", DEBIAN
    everything = rule(("PRIORITY", ["*"]))
    counted = "dpkg-query -W -f '${db:Status-Abbrev}\\n' | grep -c ^ii"

    def __init__(self, folder: Path) -> None:
        self._made = AptRepository(folder)
        self._old = {name: self._made.package(name, "1.0") for name in ("ph-big", "ph-slow", "ph-needy")}
        self._index = folder / "dists/bookworm-security/main/binary-amd64/Packages"

    def prepare(self, root: Root) -> None:
        """The old packages are there, and nothing newer."""
        root.run("dpkg -i " + " ".join(map(str, self._old.values())))
        self._made.publish("bookworm-security")
        self._made.use(root, "bookworm-security")

    def offer(self, name: str, *, script: str = "", kilobytes: int = 0) -> None:
        """A newer version of a package, which mends a hole."""
        self._made.publish("bookworm-security", self._made.package(name, "1.1", postinst=script, kilobytes=kilobytes))

    def offer_what_does_not_go(self, name: str) -> None:
        """A newer version that could only be there if another package went."""
        self._made.publish("bookworm-security", self._made.package(name, "1.1", conflicts="ph-big"))

    def id(self, name: str) -> str:
        """Of its patch."""
        return f"{name}.all"

    def version(self, root: Root, name: str) -> str:
        """What is installed of it."""
        return root.run(f"dpkg-query -W -f '${{Version}}' {name}; dpkg --audit")

    def away(self) -> Callable[[], object]:
        """The repository cannot be read until what is returned is called."""
        there = self._index.with_suffix(".away")
        self._index.rename(there)
        return lambda: there.rename(self._index)


class Rpm:
    """Red Hat and its kin."""

    name, system, release = "rocky", "ROCKY_LINUX", ROCKY
    everything = rule(("CLASSIFICATION", ["Security"]))
    counted = "rpm -qa --qf '%{NAME}\\n' | grep -vc ^gpg-pubkey"

    def __init__(self, folder: Path) -> None:
        self._made = RpmRepository(folder)
        self._old = [self._made.package(name, "1.0") for name in ("ph-big", "ph-slow", "ph-needy")]
        self._old.append(self._made.package("ph-shell", "1.0", provides="/bin/sh"))
        self._notices: list[str] = []

    def prepare(self, root: Root) -> None:
        """The old packages are there, and nothing newer."""
        self._made.publish()
        self._made.use(root)
        root.run("rpm -i --nodeps " + " ".join(str(self._made.folder / each) for each in self._old))

    def offer(self, name: str, *, script: str = "", kilobytes: int = 0, requires: str = "") -> None:
        """A newer version of a package, which mends a hole."""
        self._made.package(name, "1.1", post=script, kilobytes=kilobytes, requires=requires)
        today = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
        self._notices.append(notice(f"PH-{name}", (name, "1.1", "1"), date=f"{today:%Y-%m-%d %H:%M:%S}"))
        self._made.publish(*self._notices)

    def offer_what_does_not_go(self, name: str) -> None:
        """A newer version that needs what is nowhere: it could only be left out, or the old one removed."""
        self.offer(name, requires="ph-nowhere")

    def id(self, name: str) -> str:
        """Of its patch."""
        return f"{name}.noarch"

    def version(self, root: Root, name: str) -> str:
        """What is installed of it."""
        return root.run(f"rpm -q --qf '%{{VERSION}}' {name}")

    def away(self) -> Callable[[], object]:
        """The repository cannot be read until what is returned is called."""
        there = self._made.folder.with_suffix(".away")
        self._made.folder.rename(there)
        return lambda: there.rename(self._made.folder)


class Zypp(Rpm):
    """SUSE and its kin, which know patches beside packages."""

    name, system, release = "suse", "SUSE", SUSE

    def id(self, name: str) -> str:
        """Of its patch."""
        return f"PH-{name}"


@pytest.fixture(scope="module", params=[Apt, Rpm, Zypp], ids=lambda each: str(each.name))
def family(request: pytest.FixtureRequest, house: Installation) -> "Apt | Rpm":
    made: Apt | Rpm = request.param(house.folder / request.param.name)
    return made


@pytest.fixture(scope="module")
def node(family: "Apt | Rpm", house: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Patched]:
    folder = tmp_path_factory.mktemp("machines")
    with machine(house, folder, family.name, release=family.release) as (root, agent):
        family.prepare(root)
        agent.start()
        house.connected(agent)
        made = Patched(house, root, agent)
        made.baseline(family.system, ApprovalRules=family.everything)
        yield made


def test_a_repository_that_cannot_be_read_changes_nothing(node: Patched, family: "Apt | Rpm") -> None:
    node.done("Scan")
    before = node.state()
    back = family.away()
    for operation in ("Scan", "Install"):
        failed = node.run(operation)
        assert (failed["Status"], failed["ResponseCode"]) == ("Failed", 2), failed
        assert "patching: " in failed["StandardErrorContent"]
    back()
    assert node.state() == before


def test_no_space_is_a_failed_patch_until_there_is_some(node: Patched, family: "Apt | Rpm") -> None:
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


def test_an_install_that_is_killed_is_brought_to_its_end_by_the_next(node: Patched, family: "Apt | Rpm") -> None:
    family.offer("ph-slow", script=ONCE)
    wanted = family.id("ph-slow")
    assert node.run("Install", RebootOption="NoReboot")["Status"] == "Failed"
    assert node.root.run("ls /var/lib/killed")
    assert node.patches(wanted).get(wanted) != "INSTALLED"  # FAILED, or as before where the run itself was killed
    node.done("Install", RebootOption="NoReboot")
    assert family.version(node.root, "ph-slow").endswith("1.1")  # rpm may also still know the older one, as dnf left it
    assert node.patches(wanted) == {wanted: "INSTALLED"}
    state = node.state()
    assert (state["MissingCount"], state["FailedCount"]) == (0, 0)


def test_counts_are_those_of_the_package_database(node: Patched, family: "Apt | Rpm") -> None:
    node.done("Scan")
    state = node.state()
    told = sum(state[name] for name in ("InstalledCount", "InstalledOtherCount", "InstalledPendingRebootCount"))
    patches = [name for name in node.patches() if name.startswith("PH-")]  # zypper's, beside the packages
    assert told - len(patches) == int(node.root.run(family.counted))


def test_what_does_not_go_is_a_failed_patch_and_removes_nothing(node: Patched, family: "Apt | Rpm") -> None:
    family.offer_what_does_not_go("ph-needy")
    wanted = family.id("ph-needy")
    failed = node.run("Install", RebootOption="NoReboot")
    assert (failed["Status"], failed["ResponseCode"]) == ("Failed", 1), failed["StandardOutputContent"]
    assert node.patches(wanted) == {wanted: "FAILED"}
    assert family.version(node.root, "ph-needy").startswith("1.0")
    assert family.version(node.root, "ph-big") == "1.1"
