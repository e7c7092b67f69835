"""Red Hat and its kin: what rpm and dnf (or yum) say, in forms for programs, and notices from updateinfo.xml.

dnf5 may be called dnf. It speaks of notices itself where the file is packed in a way that cannot be read here.
Under Python 3.6.
"""

import bz2
import gzip
import importlib
import json
import lzma
import os
import re
import shutil
import tempfile
import xml.etree.ElementTree as ElementTree
from datetime import datetime
from typing import Any, Callable, Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

from pilothouse_patching.choosing import Patch
from pilothouse_patching.locks import Patience, is_held
from pilothouse_patching.running import ToolFailed, chunks, found, run

_QUERY = "%{NAME}\\t%{EPOCHNUM}\\t%{VERSION}\\t%{RELEASE}\\t%{ARCH}\\n"
_REPOQUERY = "%{name}\t%{epoch}\t%{version}\t%{release}\t%{arch}\t%{repoid}\t%{buildtime}\n"
_CLASSES = {
    "security": "Security", "bugfix": "Bugfix", "enhancement": "Enhancement", "newpackage": "Newpackage",
    "recommended": "Recommended",
}  # fmt: skip
_KEPT = "_dnf_local"
"""Repositories of what the machine itself downloaded before, which a plugin of dnf makes."""
_CACHE = "/var/cache/pilothouse-patching"
_LOCKS = (
    "/var/lib/dnf/rpmdb_lock.pid", "/var/run/yum.pid", "/run/dnf/rpmtransaction.lock",
    "/var/lib/dnf/system-repo.lock",
)  # fmt: skip
"""Of dnf, yum and dnf5, which has two; newer ones wait for the second forever."""
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
        if tool != "yum":
            # dnf5 would take what the system's own cache has, also where it is outdated or its repository is broken
            self._options.append("--setopt=system_cachedir=" + os.path.join(_CACHE, "dnf"))
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
        for notice in self._read_notices():
            for place in notice.packages:
                self._notices.setdefault(place, []).append(notice)

    def _read_notices(self) -> List[Notice]:
        """What the files of the repositories say of advisories; else what dnf5 says, of what is installed alone."""
        found_ones: List[Notice] = []
        try:
            for folder, _, files in os.walk(os.path.join(_CACHE, "dnf")):
                for name in files:
                    if "updateinfo.xml" in name:
                        found_ones += notices(_content(os.path.join(folder, name)))
        except Unreadable as unreadable:
            asking = ["advisory", "info", *self._options, "--all", "--json"]
            code, out = self._ask(asking, lambda code, _: code == 0)
            if code != 0:  # dnf4 and yum know no such command
                raise unreadable
            return advisories(out)
        return found_ones

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
        offers = [parts for parts in (line.split("\t") for line in out.splitlines()) if len(parts) == 7]
        for parts in sorted(offers, key=lambda parts: parts[5].startswith(_KEPT)):
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

    def _ask(self, words: Sequence[str], is_good: Callable[[int, str], bool]) -> Tuple[int, str]:
        """A question that changes nothing: newer dnf5 need not wait for who else is at work; others lack the option."""
        code, out = run([self._tool, *words, "--skip-file-locks"], 1800, good=None)
        return (code, out) if is_good(code, out) else run([self._tool, *words], 1800, good=None)

    def reboot_needed(self, installed: Iterable[Patch]) -> bool:
        """What needs-restarting says; where it says nothing, a kernel, the C library or systemd that was installed.

        It ends with 1 if a reboot is due, but also if it could not look. dnf has it as a command, which may be missing.
        """
        asking = ["needs-restarting", "-r"]
        if found(asking[0]):
            code, said = run(asking, good=None)
        else:
            code, said = self._ask([*asking, *(each for each in self._options if each != "-q")], _is_answer)
        if _is_answer(code, said):
            return code == 1
        return any(each.name.startswith(("kernel", "glibc", "systemd", "linux-firmware")) for each in installed)


def _is_answer(code: int, said: str) -> bool:
    """Whether needs-restarting looked, and said so."""
    return code == 0 or (code == 1 and "reboot is required" in said.lower())


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


class Unreadable(ToolFailed):
    """A file of a repository is packed in a way for which there is no program here."""


def _content(path: str) -> bytes:
    """Raises Unreadable, ToolFailed."""
    if path.endswith((".zst", ".zck")):
        tool = ["zstd", "-dcq"] if path.endswith(".zst") else ["unzck", "--stdout"]
        if found(tool[0]):
            return run([*tool, path])[1].encode()
        if path.endswith(".zck"):
            raise Unreadable("unzck is not there")
    openers: Dict[str, Any] = {".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open, ".zst": _open_zst}
    opener = openers.get(os.path.splitext(path)[1], open)
    with opener(path, "rb") as file:
        return bytes(file.read())


def _open_zst(path: str, mode: str) -> Any:
    """As Python has it from 3.14 on. Raises Unreadable."""
    try:
        return importlib.import_module("compression.zstd").open(path, mode)
    except ImportError:
        raise Unreadable("zstd is not there")


def advisories(text: str) -> List[Notice]:
    """Of `dnf5 advisory info --json`. Raises ToolFailed."""
    try:
        told = json.loads(text or "[]")  # silence: there are none
        return [_advisory(each) for each in told]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ToolFailed(f"what dnf5 says of advisories cannot be read: {error!r}")


def _advisory(told: Dict[str, Any]) -> Notice:
    kind = (told.get("Type") or "").lower()
    references = [(str(each.get("Type")).lower(), each.get("Id") or "") for each in told.get("references") or ()]
    packages = (told.get("collections") or {}).get("packages") or ()
    return Notice(
        id=told["Name"],
        classification=_CLASSES.get(kind, kind.capitalize()),
        severity=(told.get("Severity") or "None").strip().capitalize(),
        released=moment(str(told.get("Issued") or "")),
        cves=tuple(sorted({one for kind_, one in references if kind_ == "cve"})),
        bugzillas=tuple(sorted({one for kind_, one in references if kind_ == "bugzilla"})),
        packages=tuple(_place(each) for each in packages),
    )


def _place(nevra: str) -> Place:
    """Of `name-epoch:version-release.arch`, of which the epoch may be missing. Raises ValueError."""
    whole, _, arch = nevra.rpartition(".")
    name, version, release = whole.rsplit("-", 2)
    epoch, _, version = version.rpartition(":")
    return name, arch, evr(epoch, version, release)


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
