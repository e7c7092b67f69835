"""The machine as packages know it, by the names that the official agent has for distributions and their kin."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_NAMES = {"rhel": "redhat", "ol": "oracle", "amzn": "amazon", "sles": "suse"}
"""Where packages have another name for a distribution than its own `ID`."""
_FAMILIES = {
    "debian": ("debian", "ubuntu", "raspbian"),
    "rhel": ("redhat", "centos", "amazon", "oracle", "rocky", "almalinux"),
    "fedora": ("fedora",),
    "suse": ("suse", "opensuse", "opensuseleap", "opensuse-leap", "opensuse-tumbleweed"),
    "arch": ("arch",),
    "alpine": ("alpine",),
    "gentoo": ("gentoo",),
}
_MANAGERS = {
    "debian": "apt",
    "rhel": "yum",
    "fedora": "dnf",
    "suse": "zypper",
    "arch": "pacman",
    "alpine": "alpine",
    "gentoo": "emerge",
}
_ARCHITECTURES = {"aarch64": "arm64", "amd64": "x86_64", "i686": "386"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """The machine as manifests name it: `debian`, `12`, `x86_64`; or `redhat`, `9.4`, `x86_64`."""

    name: str
    version: str
    architecture: str
    family: str = ""
    """`rhel`, `debian` …; empty for a distribution that is of no known kin."""
    init: str = ""

    @property
    def package_manager(self) -> str:
        return _MANAGERS.get(self.family, "")


def platform(root: Path, machine: str) -> Platform:
    """The machine whose files are below `root`, and whose kernel calls it `machine`."""
    release = _release(root)
    own = release.get("ID", "linux").lower()
    name = _NAMES.get(own, own)
    if name in ("opensuse", "opensuse-leap") and "leap" in release.get("NAME", "").lower():
        name = "opensuseleap"
    return Platform(
        name=name,
        version=release.get("VERSION_ID", ""),
        architecture=_ARCHITECTURES.get(machine, machine),
        family=_family([name, *release.get("ID_LIKE", "").lower().split()]),
        init=_init(root),
    )


def _release(root: Path) -> dict[str, str]:
    for path in (root / "etc/os-release", root / "usr/lib/os-release"):
        if path.exists():
            lines = (line.partition("=") for line in path.read_text("utf-8", "replace").splitlines())
            return {name: value.strip("\"'") for name, found, value in lines if found}
    return {}


def _family(names: Iterable[str]) -> str:
    """That of the first name which is of one: the distribution's own, or one that it says it is like."""
    for name in names:
        for family, members in _FAMILIES.items():
            if name == family or _NAMES.get(name, name) in members:
                return family
    return ""


def _init(root: Path) -> str:
    for name, signs in {
        "systemd": ("run/systemd/system", "usr/bin/systemctl", "bin/systemctl"),
        "docker": (".dockerenv",),
        "openrc": ("sbin/openrc",),
    }.items():
        if any((root / sign).exists() for sign in signs):
            return name
    return ""
