"""What the node itself remembers between runs: what it installed, and under which boot. Under Python 3.6."""

import fcntl
import json
import os
import time
from typing import Any, Dict, Iterable, List

from pilothouse_patching.choosing import Patch
from pilothouse_patching.running import ToolFailed

_FOLDER = "/var/lib/pilothouse-patching"


class Memory:
    """The file in the node's state folder; one run at a time holds it."""

    def __init__(self) -> None:
        os.makedirs(_FOLDER, mode=0o700, exist_ok=True)
        self._lock = open(os.path.join(_FOLDER, "lock"), "w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ToolFailed("another run of patching is at work on this machine")
        self._file = os.path.join(_FOLDER, "state.json")
        self._state: Dict[str, Any] = {
            "installed": {},
            "pending": [],
            "boot": "",
            "rebooted_for": "",
            "no_reboot_at": "",
            "described": [],
        }
        try:
            with open(self._file) as kept:
                self._state.update(json.load(kept))
        except (OSError, ValueError):
            pass
        if self._state["boot"] != boot():
            self._state.update(pending=[], boot=boot())

    @property
    def installed_at(self) -> Dict[str, int]:
        """`id=version` to seconds since the epoch, of what this program installed."""
        return dict(self._state["installed"])

    @property
    def pending(self) -> List[str]:
        """`id=version` of what waits for a reboot."""
        return list(self._state["pending"])

    @property
    def no_reboot_at(self) -> str:
        """When patches were last installed without a reboot; empty if never."""
        return str(self._state["no_reboot_at"])

    def has_rebooted_for(self, run: str) -> bool:
        """Whether this run asked for a reboot before."""
        return bool(run) and self._state["rebooted_for"] == run

    def reboots_for(self, run: str) -> None:
        """This run asks for a reboot."""
        self._save(rebooted_for=run)

    def undescribed(self, plain: Iterable[str], described: Iterable[str]) -> List[str]:
        """Those of the plain repositories that had metadata in an earlier run; from now on the described ones had."""
        lost = sorted(set(plain) & set(self._state["described"]))
        known = sorted({*self._state["described"], *described})
        if known != self._state["described"]:
            self._save(described=known)
        return lost

    def installed(self, patches: Iterable[Patch], waits: bool, without_reboot_at: str) -> None:
        """These were installed now; `waits`: the system wants a reboot."""
        names = [f"{each.id}={each.version}" for each in patches]
        now = int(time.time())
        done = dict(self._state["installed"])
        done.update(dict.fromkeys(names, now))
        pending = sorted(set(self._state["pending"]) | set(names)) if waits else self._state["pending"]
        self._save(installed=done, pending=pending)
        if without_reboot_at:
            self._save(no_reboot_at=without_reboot_at)

    def _save(self, **changes: Any) -> None:
        self._state.update(changes)
        with open(self._file + ".new", "w") as out:
            json.dump(self._state, out)
            out.flush()
            os.fsync(out.fileno())
        os.replace(self._file + ".new", self._file)


def boot() -> str:
    """Which boot of the machine this is."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read().strip()
    except OSError:
        return ""
