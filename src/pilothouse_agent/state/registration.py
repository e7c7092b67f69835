"""Who this node is: the registration, its key pair and the certificate of the server it trusts."""

import hashlib
import os
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

from pilothouse_agent.state import files


class NotRegistered(Exception):
    """The state directory holds no registration, or one that cannot be read."""


@dataclass(frozen=True, kw_only=True)
class Registration:
    """What `register` learned. The key and the CA certificate are files of their own beside it."""

    instance_id: str
    region: str
    url: str
    fingerprint: str
    machine: str
    """Digest of the machine id at registration; empty when the machine has none."""

    @property
    def host(self) -> str:
        """Host name or address of the server, without brackets."""
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        return urlsplit(self.url).port or 443

    def current_fingerprint(self) -> str:
        """The stored fingerprint, or another one on another machine.

        A copied disk boots with a new machine id; the server then refuses the copy instead of
        letting two machines act as one node.
        """
        here = machine_digest()
        if not here or not self.machine or here == self.machine:
            return self.fingerprint
        return str(uuid.uuid5(uuid.UUID(self.fingerprint), here))


class StateDirectory:
    """Paths below the state directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.registration_file = root / "registration.json"
        self.key_file = root / "private-key.pem"
        self.ca_file = root / "ca.pem"
        self.credentials_file = root / "credentials"
        self.commands = root / "commands"
        self.associations = root / "associations"
        self.cancels = root / "cancels"
        self.replies = root / "replies"
        self.sessions = root / "sessions"
        self.lock_file = root / "run.lock"

    def registration(self) -> Registration:
        """Raises NotRegistered."""
        stored = files.read_json(self.registration_file)
        try:
            return Registration(**stored) if stored else _missing(self.root)
        except TypeError as error:
            raise NotRegistered(f"{self.registration_file} is not a registration of this version.") from error

    def register(self, registration: Registration, private_key: bytes, ca: bytes | None) -> None:
        """Store a registration; the one file that makes it valid is written last."""
        files.make_private(self.root)
        files.write(self.key_file, private_key)
        if ca is None:
            self.ca_file.unlink(missing_ok=True)
        else:
            files.write(self.ca_file, ca)
        files.write_json(self.registration_file, asdict(registration))


def _missing(root: Path) -> Registration:
    raise NotRegistered(f"No node is registered in {root}. Run `pilothouse-agent register` first (same --state).")


def default_state_root() -> Path:
    """/var/lib for root, the user's state directory for everybody else."""
    if os.geteuid() == 0:
        return Path("/var/lib/pilothouse-agent")
    return Path.home() / ".local" / "state" / "pilothouse-agent"


def machine_digest() -> str:
    """Digest of the machine id (never the id itself, which others use as a seed); empty if there is none."""
    try:
        identity = Path("/etc/machine-id").read_text().strip()
    except OSError:
        return ""
    return hashlib.sha256(f"pilothouse-agent {identity}".encode()).hexdigest() if identity else ""
