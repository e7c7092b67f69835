"""Debian and its kin: what apt and dpkg say, in the forms that they write for programs. Under Python 3.6."""

import os
import re
import shutil
import tempfile
from typing import Any, Dict, Iterable, List, NamedTuple, Sequence, Tuple

from pilothouse_patching.choosing import Patch
from pilothouse_patching.locks import Patience, is_held
from pilothouse_patching.running import ToolFailed, chunks, run

_INSTALLED = "${Package}\\t${Architecture}\\t${Version}\\t${Priority}\\t${Section}\\t${db:Status-Abbrev}\\n"
_HALFWAY = ("iU", "iF", "iH")
"""Unpacked, configured in part, installed in part: wanted, and not there yet."""
_VERSION = re.compile(r"^ (\*\*\*|   ) (\S+) (-?\d+)")
_SOURCE = re.compile(r"^ +-?\d+ (\S+) (\S+)")
_LISTS = ("/var/lib/apt/lists/lock",)
_PACKAGES = ("/var/lib/dpkg/lock-frontend", "/var/lib/dpkg/lock", "/var/cache/apt/archives/lock")


class _Policy(NamedTuple):
    installed: str
    candidate: str
    sources: Dict[str, List[Tuple[str, str]]]
    """Version to (place, suite/component) of each repository that has it."""


class Apt:
    """The packages of this machine."""

    def __init__(self, sources: Sequence[Dict[str, Any]], patience: Patience) -> None:
        self._patience = patience
        self._options = ["-o", f"DPkg::Lock::Timeout={patience.seconds}"]
        self._folder = ""
        if sources:
            self._folder = tempfile.mkdtemp(prefix="patch-sources-")
            os.chmod(self._folder, 0o711)  # noqa: S103 - apt fetches as a user of its own
            lists = os.path.join(self._folder, "lists")
            os.makedirs(os.path.join(lists, "partial"))
            file = os.path.join(self._folder, "sources.list")
            with open(file, "w") as out:
                out.write("\n".join(each["Configuration"] for each in sources) + "\n")
            os.chmod(file, 0o600)
            self._options += ["-o", "Dir::Etc::sourcelist=" + file, "-o", "Dir::Etc::sourceparts=-"]
            self._options += ["-o", "Dir::State::lists=" + lists]
        self._installed: Dict[str, Patch] = {}
        self._halfway: Dict[str, Patch] = {}

    def close(self) -> None:
        """Remove what was made for the sources."""
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)

    def refresh(self) -> None:
        """Fetch the lists of all repositories; one that cannot be fetched is a failure."""
        self._patience.wait(_LISTS)
        if os.path.exists("/var/lib/dpkg/updates") and os.listdir("/var/lib/dpkg/updates"):
            run(["dpkg", "--configure", "-a", "--force-confold", "--force-confdef"], good=None)
        _code, out = run(["apt-get", "-q", "update", "-o", "APT::Update::Error-Mode=any", *self._options], 900)
        failed = [line for line in out.splitlines() if line.startswith(("Err:", "E:"))]
        if failed:
            raise ToolFailed(f"apt-get update: {failed[0]}")

    def installed(self) -> List[Patch]:
        """What is installed, each as the patch that its version would be."""
        found, halfway = {}, {}
        _, native = run(["dpkg", "--print-architecture"])
        _, out = run(["dpkg-query", "-W", "-f", _INSTALLED])
        for line in out.splitlines():
            name, arch, version, priority, section, status = line.split("\t")
            bare = name if arch in ("all", native.strip()) else f"{name}:{arch}"  # as apt calls it
            if status.strip() == "ii":
                found[bare] = Patch(name, arch, version, version, priority=priority, section=section)
            elif status[:2] in _HALFWAY:
                halfway[bare] = Patch(name, arch, version, priority=priority, section=section)
        policies = self._policies([*found, *halfway])
        for bare, patch in found.items():
            policy = policies.get(bare)
            sources = policy.sources.get(patch.version, []) if policy else []
            found[bare] = patch._replace(security=_is_security(sources), repository=_repository(sources))
        self._installed, self._halfway = found, halfway
        self._known = policies
        return list(found.values())

    def available(self) -> List[Patch]:
        """The versions that the installed packages could be brought to: one for each, as apt would choose.

        Those among them that are there, but not configured, are no more than could be installed.
        """
        newer = {}
        for bare, patch in self._installed.items():
            policy = self._known.get(bare)
            if policy is None or policy.candidate in ("(none)", patch.version):
                continue
            code, _ = run(["dpkg", "--compare-versions", policy.candidate, "gt", patch.version], good=None)
            if code == 0:
                newer[bare] = policy
        for bare in self._halfway:
            policy = self._known.get(bare)
            if policy is not None and policy.candidate != "(none)":
                newer[bare] = policy
        about = self._about([f"{bare}={policy.candidate}" for bare, policy in newer.items()])
        found = []
        for bare, policy in newer.items():
            now = self._installed.get(bare) or self._halfway[bare]
            sources = policy.sources.get(policy.candidate, [])
            priority, section = about.get((now.name, policy.candidate), (now.priority, now.section))
            found.append(
                now._replace(
                    version=policy.candidate, priority=priority, section=section, security=_is_security(sources),
                    repository=_repository(sources),
                )
            )  # fmt: skip
        return found

    def _policies(self, names: Sequence[str]) -> Dict[str, _Policy]:
        found: Dict[str, _Policy] = {}
        for chunk in chunks(names):
            _, out = run(["apt-cache", "policy", *self._options, *chunk], good=None)
            found.update(policies(out))
        return found

    def _about(self, versions: Sequence[str]) -> Dict[Tuple[str, str], Tuple[str, str]]:
        """(name, version) to priority and section."""
        found: Dict[Tuple[str, str], Tuple[str, str]] = {}
        for chunk in chunks(versions):
            _, out = run(["apt-cache", "show", *self._options, *chunk], good=None)
            for stanza in out.split("\n\n"):
                fields = dict(line.split(": ", 1) for line in stanza.splitlines() if re.match(r"[A-Za-z-]+: ", line))
                if "Package" in fields and "Version" in fields:
                    place = fields["Package"], fields["Version"]
                    found.setdefault(place, (fields.get("Priority", "optional"), fields.get("Section", "")))
        return found

    def install(self, chosen: Sequence[Patch], blocked: Sequence[Patch]) -> None:
        """Bring the packages to the versions. What did not work is seen by looking at what is installed then.

        Raises Locked where nothing was begun.
        """
        self._patience.wait(_PACKAGES)
        run(["dpkg", "--configure", "-a", "--force-confold", "--force-confdef"], good=None)
        options = ["-y", "-q", "--only-upgrade", "--no-remove", "-o", "Dpkg::Options::=--force-confold"]
        options += ["-o", "Dpkg::Options::=--force-confdef", *self._options]
        held = None
        if blocked:
            held = tempfile.NamedTemporaryFile("w", prefix="patch-pins-", suffix=".pref", delete=False)
            held.write(_pins(blocked, held.name))
            held.close()
            options += ["-o", "Dir::Etc::Preferences=" + held.name]
        try:
            wanted = [f"{each.name}:{_arch(each)}={each.version}" for each in chosen]
            code, _ = run(["apt-get", "install", *options, *wanted], good=None, shown=True)
            if code != 0 and len(wanted) > 1:
                for each in wanted:
                    if is_held(_PACKAGES):  # once is enough to wait: it stays undone
                        break
                    run(["apt-get", "install", *options, each], good=None, shown=True)
        finally:
            if held is not None:
                os.unlink(held.name)

    def reboot_needed(self, installed: Iterable[Patch]) -> bool:
        """What the system says; where it says nothing, a kernel or the C library that was installed."""
        if os.path.exists("/run/reboot-required") or os.path.exists("/var/run/reboot-required"):
            return True
        return any(each.name.startswith(("linux-image", "libc6", "systemd")) for each in installed)


def _arch(patch: Patch) -> str:
    return patch.arch


def _pins(blocked: Sequence[Patch], path: str) -> str:
    """Preferences that keep the packages out, beside those of the system."""
    own = ""
    if os.path.exists("/etc/apt/preferences"):
        with open("/etc/apt/preferences") as there:
            own = there.read().strip() + "\n\n"
    pins = [f"Package: {each.name}\nPin: version *\nPin-Priority: -1\n" for each in blocked]
    return own + "\n".join(pins)


def policies(out: str) -> Dict[str, _Policy]:
    """What `apt-cache policy` says, by the name that was asked for."""
    found: Dict[str, _Policy] = {}
    name, version = "", ""
    for line in out.splitlines():
        if line and not line.startswith(" ") and line.endswith(":"):
            name, version = line[:-1], ""
            found[name] = _Policy("(none)", "(none)", {})
        elif not name:
            continue
        elif line.startswith("  Installed: "):
            found[name] = found[name]._replace(installed=line.split(": ", 1)[1])
        elif line.startswith("  Candidate: "):
            found[name] = found[name]._replace(candidate=line.split(": ", 1)[1])
        else:
            head, source = _VERSION.match(line), _SOURCE.match(line)
            if head and len(line) - len(line.lstrip()) <= 5:
                version = head.group(2)
                found[name].sources.setdefault(version, [])
            elif source and version:
                found[name].sources[version].append((source.group(1), source.group(2)))
    return found


def _is_security(sources: Iterable[Tuple[str, str]]) -> bool:
    """Whether a repository of security updates has the version (`CODENAME-security`, `debian-security`)."""
    for place, suite in sources:
        if suite.split("/", 1)[0].endswith("-security") or "debian-security" in place:
            return True
        if suite.split("/", 2)[:2][-1] == "updates" and "security" in place:
            return True
    return False


def _repository(sources: Iterable[Tuple[str, str]]) -> str:
    return next((suite for place, suite in sources if place.startswith(("http", "file", "copy", "cdrom"))), "")
