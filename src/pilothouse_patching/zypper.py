"""SUSE: the patches that zypper's XML tells of, and packages without one. Under Python 3.6."""

import os
import shutil
import tempfile
import xml.etree.ElementTree as ElementTree
from typing import Any, Dict, Iterable, List, Optional, Sequence, Tuple

from pilothouse_patching.choosing import Patch
from pilothouse_patching.keeping import Memory
from pilothouse_patching.locks import Patience
from pilothouse_patching.rpm import _QUERY, database_lock, evr, moment
from pilothouse_patching.running import ToolFailed, chunks, run

_CLASSES = {
    "security": "Security", "recommended": "Recommended", "optional": "Optional", "feature": "Feature",
    "document": "Document", "yast": "Yast",
}  # fmt: skip
_LOCKS = ("/run/zypp.pid",)
_LOCKED = 7
_INFORMS = (0, 100, 101, 102, 103, 106)
"""Exit codes that are no failures: patches are there, a reboot or restart is due, a repository was left out."""


class Zypper:
    """The patches and packages of this machine."""

    def __init__(self, sources: Sequence[Dict[str, Any]], patience: Patience, memory: Memory) -> None:
        self._patience = patience
        self._memory = memory
        self._options = ["--non-interactive"]
        self._folder = ""
        self._reboot = False
        if sources:
            self._folder = tempfile.mkdtemp(prefix="patch-sources-")
            for number, each in enumerate(sources):
                file = os.path.join(self._folder, f"source-{number}.repo")
                with open(file, "w") as out:
                    out.write(each["Configuration"] + "\n")
                os.chmod(file, 0o600)
            self._options += ["--reposd-dir", self._folder]

    def close(self) -> None:
        """Remove what was made for the sources."""
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)

    def refresh(self) -> None:
        """Fetch what the repositories have; one that cannot be fetched is a failure."""
        self._zypper("refresh", "--force", seconds=1800, good=(0,))
        kinds: Dict[bool, List[str]] = {True: [], False: []}
        for each in self._xml("repos").iter("repo"):
            if each.get("enabled") == "1":
                kinds[each.get("type") == "plaindir"].append("{} ({})".format(each.get("alias"), each.findtext("url")))
        # zypper takes a local directory whose metadata is away for one that has packages and no patches.
        lost = self._memory.undescribed(kinds[True], kinds[False])
        if lost:
            raise ToolFailed(
                "these repositories have no metadata any more: {}; mend them, or give those that are to have none "
                "another alias".format(", ".join(lost))
            )

    def _zypper(
        self, *what: str, seconds: int = 3600, good: Optional[Tuple[int, ...]] = None, shown: bool = False
    ) -> Tuple[int, str]:
        """zypper itself waits for no lock, and takes one for nearly all it does. Raises Locked."""
        self._patience.wait(_LOCKS)
        allowed = None if good is None else (*good, _LOCKED)
        code, out = run(["zypper", *self._options, *what], seconds, good=allowed, shown=shown)
        if code == _LOCKED:  # somebody was quicker
            raise self._patience.over(_LOCKS[0])
        return code, out

    def _xml(self, *what: str) -> ElementTree.Element:
        _, out = self._zypper("--xmlout", *what, seconds=1800, good=_INFORMS)
        try:
            return ElementTree.fromstring(out)
        except ElementTree.ParseError as error:
            raise ToolFailed(f"zypper's answer cannot be read: {error}")

    def installed(self) -> List[Patch]:
        """Patches that are applied, and the packages that are installed."""
        patches = [each for each, status in _patches(self._xml("list-patches", "--all")) if status == "applied"]
        _, out = run(["rpm", "-qa", "--qf", _QUERY])
        for line in out.splitlines():
            name, epoch, version, release, arch = line.split("\t")
            if name != "gpg-pubkey":
                whole = evr(epoch, version, release)
                patches.append(Patch(name, arch, whole, whole))
        return patches

    def available(self) -> List[Patch]:
        """Patches that are needed, and packages that could be brought to a newer version."""
        patches = [each for each, status in _patches(self._xml("list-patches", "--all")) if status == "needed"]
        for update in self._xml("list-updates").iter("update"):
            if update.get("kind") != "package":
                continue
            source = update.find("source")
            patches.append(
                Patch(
                    update.get("name") or "", update.get("arch") or "", update.get("edition") or "",
                    update.get("edition-old") or "?",
                    repository=(source.get("alias") or "") if source is not None else "",
                )
            )  # fmt: skip
        return patches

    def install(self, chosen: Sequence[Patch], blocked: Sequence[Patch]) -> None:
        """Install patches, then packages. What did not work is seen by looking at what is installed then.

        Raises Locked.
        """
        self._patience.wait([*_LOCKS, database_lock()])
        locked = sorted({each.name for each in blocked if each.unit == "package"})
        kinds = (("patch", [each.name for each in chosen if each.unit == "patch"]),
                 ("package", [f"{each.name}={each.version}" for each in chosen if each.unit == "package"]))  # fmt: skip
        if locked:
            self._zypper("addlock", "--comment", "pilothouse-patching", *locked)
        try:
            for kind, names in kinds:
                for chunk in chunks(names):
                    self._install(kind, chunk)
        finally:
            if locked:
                self._zypper("removelock", *locked)

    def _install(self, kind: str, names: List[str]) -> None:
        # Without --force-resolution: what cannot be installed would be "resolved" by removing what is there.
        command = ("install", "--auto-agree-with-licenses", "-t", kind)
        code, _ = self._zypper(*command, *names, shown=True)
        self._reboot = self._reboot or code == 102
        if code == 103:  # zypper itself was renewed, and wants to be asked again
            code, _ = self._zypper(*command, *names, shown=True)
        if code not in _INFORMS and len(names) > 1:
            for name in names:
                code, _ = self._zypper(*command, name, shown=True)
                self._reboot = self._reboot or code == 102

    def reboot_needed(self, installed: Iterable[Patch]) -> bool:
        """What zypper says."""
        code, _ = self._zypper("needs-rebooting")
        return self._reboot or code == 102


def _patches(root: ElementTree.Element) -> List[Tuple[Patch, str]]:
    made = []
    for update in root.iter("update"):
        if update.get("kind") not in (None, "patch"):
            continue
        source, date = update.find("source"), update.find("issue-date")
        issues = [(each.get("type"), each.get("id") or "") for each in update.iter("issue")]
        released: Optional[int] = None
        if date is not None:
            released = moment(date.get("time_t") or "")
        category = (update.get("category") or "").lower()
        status = update.get("status") or "needed"
        patch = Patch(
            name=update.get("name") or "",
            arch=update.get("arch") or "",
            version=update.get("edition") or "",
            installed=(update.get("edition") or "") if status == "applied" else "",
            repository=(source.get("alias") or "") if source is not None else "",
            classification=_CLASSES.get(category, category.capitalize()),
            severity=(update.get("severity") or "unspecified").capitalize(),
            released=released,
            security=category == "security",
            advisories=(update.get("name") or "",),
            cves=tuple(sorted({one for kind, one in issues if kind == "cve"})),
            bugzillas=tuple(sorted({one for kind, one in issues if kind == "bugzilla"})),
            title=(update.findtext("summary") or "").strip(),
            unit="patch",
        )
        made.append((patch, status))
    return made
