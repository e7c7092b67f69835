"""Red Hat and its kin: what rpm and dnf (or yum) say, in forms for programs, and notices from updateinfo.xml.

Under Python 3.6.
"""

import bz2
import gzip
import lzma
import os
import re
import shutil
import tempfile
import xml.etree.ElementTree as ElementTree
from datetime import datetime
from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

from pilothouse_patching.choosing import Patch
from pilothouse_patching.locks import Patience, is_held
from pilothouse_patching.running import ToolFailed, chunks, found, run

_QUERY = "%{NAME}\\t%{EPOCHNUM}\\t%{VERSION}\\t%{RELEASE}\\t%{ARCH}\\n"
_REPOQUERY = "%{name}\t%{epoch}\t%{version}\t%{release}\t%{arch}\t%{reponame}\t%{buildtime}\n"
_CLASSES = {
    "security": "Security", "bugfix": "Bugfix", "enhancement": "Enhancement", "newpackage": "Newpackage",
    "recommended": "Recommended",
}  # fmt: skip
_CACHE = "/var/cache/pilothouse-patching"
_LOCKS = ("/var/lib/dnf/rpmdb_lock.pid", "/var/run/yum.pid", "/run/dnf/rpmtransaction.lock")
"""Of dnf, yum and dnf5."""
_LOCKED = 200
"""How dnf and yum end where somebody else holds their lock."""
_PART = re.compile(r"([0-9]+|[a-zA-Z]+|~|\^)")
_DATE = re.compile(r"(\d{4})-(\d{2})-(\d{2})(?: (\d{2}):(\d{2}):(\d{2}))?")

Place = Tuple[str, str, str]
"""Name, architecture, and version with epoch and release."""


class Notice(NamedTuple):
    """What updateinfo.xml says of an advisory."""

    id: str
    classification: str
    severity: str
    released: Optional[int]
    cves: Tuple[str, ...]
    bugzillas: Tuple[str, ...]
    packages: Tuple[Place, ...]


class Rpm:
    """The packages of this machine."""

    def __init__(self, sources: Sequence[Dict[str, Any]], patience: Patience) -> None:
        self._patience = patience
        tool = found("dnf", "dnf5", "yum")
        if tool is None:
            raise ToolFailed("neither dnf nor yum is there")
        self._tool = tool
        self._options = ["-q", "-y", "--setopt=cachedir=" + os.path.join(_CACHE, "dnf")]
        # Some distributions leave out any repository that is away. The machine would be said to lack nothing. A
        # repository whose own section says so may still be missing.
        self._options.append("--setopt=skip_if_unavailable=False")
        self._options.append("--setopt=exit_on_lock=True")  # it would wait forever
        self._folder = ""
        if sources:
            self._folder = tempfile.mkdtemp(prefix="patch-sources-")
            for number, each in enumerate(sources):
                file = os.path.join(self._folder, f"source-{number}.repo")
                with open(file, "w") as out:
                    out.write(each["Configuration"] + "\n")
                os.chmod(file, 0o600)
            self._options.append("--setopt=reposdir=" + self._folder)
        self._installed: Dict[Tuple[str, str], str] = {}
        self._notices: Dict[Place, List[Notice]] = {}

    def close(self) -> None:
        """Remove what was made for the sources."""
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)

    def refresh(self) -> None:
        """Fetch what the repositories have; one that cannot be fetched is a failure, unless it may be missing."""
        shutil.rmtree(os.path.join(_CACHE, "dnf"), ignore_errors=True)
        os.makedirs(os.path.join(_CACHE, "dnf"))
        run([self._tool, "makecache", *self._options], 1800)
        self._notices = {}
        for folder, _, files in os.walk(os.path.join(_CACHE, "dnf")):
            for name in files:
                if "updateinfo.xml" in name:
                    for notice in notices(_content(os.path.join(folder, name))):
                        for place in notice.packages:
                            self._notices.setdefault(place, []).append(notice)

    def installed(self) -> List[Patch]:
        """What is installed, each as the patch that its version would be."""
        _, out = run(["rpm", "-qa", "--qf", _QUERY])
        patches = []
        for line in out.splitlines():
            name, epoch, version, release, arch = line.split("\t")
            if name == "gpg-pubkey":
                continue
            whole = evr(epoch, version, release)
            known = self._installed.get((name, arch))
            if known is None or compare(whole, known) > 0:
                self._installed[name, arch] = whole
            patches.append(self._with_notices(Patch(name, arch, whole, whole)))
        return patches

    def available(self) -> List[Patch]:
        """Every version in the repositories that is newer than what is installed, or for which a notice speaks."""
        _, out = run([self._tool, "repoquery", *self._options, "--available", "--qf", _REPOQUERY], 1800)
        patches = []
        seen = set()
        for line in out.splitlines():
            parts = line.split("\t")
            if len(parts) != 7:
                continue
            name, epoch, version, release, arch, repository, built = parts
            whole = evr(epoch, version, release)
            now = self._installed.get((name, arch))
            if now is None or compare(whole, now) <= 0 or (name, arch, whole) in seen:
                continue
            seen.add((name, arch, whole))
            patch = Patch(name, arch, whole, now, repository=repository, released=moment(built))
            patches.append(self._with_notices(patch))
        return patches

    def _with_notices(self, patch: Patch) -> Patch:
        """The patch as the gravest of the notices that name it describes it."""
        named = self._notices.get((patch.name, patch.arch, patch.version))
        if not named:
            return patch
        first = sorted(named, key=lambda each: (each.classification != "Security", each.id))[0]
        return patch._replace(
            classification=first.classification,
            severity=first.severity,
            released=first.released,
            security=first.classification == "Security",
            advisories=tuple(sorted({each.id for each in named})),
            cves=tuple(sorted({cve for each in named for cve in each.cves})),
            bugzillas=tuple(sorted({one for each in named for one in each.bugzillas})),
        )

    def install(self, chosen: Sequence[Patch], blocked: Sequence[Patch]) -> None:
        """Bring the packages to the versions. What did not work is seen by looking at what is installed then.

        Raises Locked where nothing was begun.
        """
        locks = [*_LOCKS, database_lock()]
        self._patience.wait(locks)
        options = [each for each in self._options if each != "-q"]
        if blocked:
            options.append("--exclude=" + ",".join(sorted({each.name for each in blocked})))
        wanted = [f"{each.name}-{each.version}.{each.arch}" for each in chosen]
        failed = False
        for number, chunk in enumerate(chunks(wanted)):
            code, _ = run([self._tool, "upgrade", *options, *chunk], good=None, shown=True)
            failed = failed or code != 0
            if code == _LOCKED and number == 0:  # somebody was quicker
                raise self._patience.over(is_held(locks) or locks[0])
        if failed and len(wanted) > 1:
            for one in wanted:
                if is_held(locks):  # once is enough to wait: it stays undone
                    break
                run([self._tool, "upgrade", *options, one], good=None, shown=True)

    def reboot_needed(self, installed: Iterable[Patch]) -> bool:
        """What needs-restarting says; where it says nothing, a kernel, the C library or systemd that was installed.

        It ends with 1 if a reboot is due, but also if it could not look.
        """
        if found("needs-restarting"):
            code, said = run(["needs-restarting", "-r"], good=None)
            if code == 0 or (code == 1 and "reboot is required" in said.lower()):
                return code == 1
        return any(each.name.startswith(("kernel", "glibc", "systemd", "linux-firmware")) for each in installed)


def database_lock() -> str:
    """The file that rpm locks while it changes packages; it waits forever for it."""
    _, out = run(["rpm", "--eval", "%{_dbpath}"])
    return os.path.join(out.strip(), ".rpm.lock")


def evr(epoch: str, version: str, release: str) -> str:
    """Epoch, version and release as one text; an epoch of 0 is left out."""
    whole = f"{version}-{release}"
    return whole if epoch in ("0", "", "(none)") else f"{epoch}:{whole}"


def moment(text: str) -> Optional[int]:
    """Seconds since the epoch of a number or a date in UTC."""
    if text.isdigit():
        return int(text)
    date = _DATE.match(text)
    if date is None:
        return None
    year, month, day, hour, minute, second = (int(part or 0) for part in date.groups())
    return int((datetime(year, month, day, hour, minute, second) - datetime(1970, 1, 1)).total_seconds())


def _content(path: str) -> bytes:
    if path.endswith((".zst", ".zck")):
        tool = ["zstd", "-dcq"] if path.endswith(".zst") else ["unzck", "--stdout"]
        return run([*tool, path])[1].encode()
    openers: Dict[str, Any] = {".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open}
    opener = openers.get(os.path.splitext(path)[1], open)
    with opener(path, "rb") as file:
        return bytes(file.read())


def notices(content: bytes) -> List[Notice]:
    """Of an updateinfo.xml. Raises ToolFailed."""
    try:
        root = ElementTree.fromstring(content)
    except ElementTree.ParseError as error:
        raise ToolFailed(f"the notices of a repository cannot be read: {error}")
    made = []
    for update in root.iter("update"):
        kind = (update.get("type") or "").lower()
        date = update.find("updated")
        issued = update.find("issued")
        when = (date.get("date") if date is not None else None) or (issued.get("date") if issued is not None else "")
        references = [(each.get("type"), each.get("id") or "") for each in update.iter("reference")]
        packages = tuple(
            (
                each.get("name") or "", each.get("arch") or "",
                evr(each.get("epoch") or "0", each.get("version") or "", each.get("release") or ""),
            )
            for each in update.iter("package")
        )  # fmt: skip
        made.append(
            Notice(
                id=(update.findtext("id") or "").strip(),
                classification=_CLASSES.get(kind, kind.capitalize()),
                severity=(update.findtext("severity") or "None").strip().capitalize(),
                released=moment(when or ""),
                cves=tuple(sorted({one for kind_, one in references if kind_ == "cve"})),
                bugzillas=tuple(sorted({one for kind_, one in references if kind_ == "bugzilla"})),
                packages=packages,
            )
        )
    return made


def compare(one: str, other: str) -> int:
    """-1, 0 or 1 as rpm orders two versions with epoch and release."""
    first, second = _split(one), _split(other)
    if first[0] != second[0]:
        return 1 if first[0] > second[0] else -1
    return _compare(first[1], second[1]) or _compare(first[2], second[2])


def _split(whole: str) -> Tuple[int, str, str]:
    epoch, colon, rest = whole.rpartition(":")
    version, _, release = rest.rpartition("-")
    return int(epoch) if colon and epoch.isdigit() else 0, version or release, release if version else ""


def _compare(one: str, other: str) -> int:
    """Segment by segment: numbers by value and above letters, `~` before the end, `^` behind it."""
    mine, theirs = _PART.findall(one), _PART.findall(other)
    for at in range(max(len(mine), len(theirs))):
        here = mine[at] if at < len(mine) else ""
        there = theirs[at] if at < len(theirs) else ""
        if here == there:
            continue
        if "~" in (here, there):
            return -1 if here == "~" else 1
        if "^" in (here, there):
            if here == "^":
                return 1 if there == "" else -1
            return -1 if here == "" else 1
        if not here or not there:
            return 1 if here else -1
        if here.isdigit() != there.isdigit():
            return 1 if here.isdigit() else -1
        if here.isdigit():
            if int(here) != int(there):
                return 1 if int(here) > int(there) else -1
        else:
            return 1 if here > there else -1
    return 0
