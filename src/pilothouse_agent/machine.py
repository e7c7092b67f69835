"""What the server is told about this machine, and what scripts are told about it."""

import contextlib
import socket
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Names as UpdateInstanceInformation has them."""

    computer_name: str
    ip_address: str
    platform_name: str
    platform_version: str


def describe(server_host: str) -> Machine:
    """This machine, with the address it reaches the server from."""
    release = _os_release()
    return Machine(
        computer_name=socket.gethostname()[:255] or "unknown",
        ip_address=_address_towards(server_host),
        platform_name=release.get("NAME", "Linux"),
        platform_version=release.get("VERSION_ID", "0"),
    )


def _os_release() -> dict[str, str]:
    for path in (Path("/etc/os-release"), Path("/usr/lib/os-release")):
        with contextlib.suppress(OSError):
            lines = (line.partition("=") for line in path.read_text("utf-8", "replace").splitlines())
            return {name: value.strip("\"'") for name, found, value in lines if found}
    return {}


def _address_towards(host: str) -> str:
    """The local address of the route to the host; nothing is sent. Names are left alone: they may take long."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    target = host if ":" in host or host.replace(".", "").isdigit() else "192.0.2.1"
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((target, 9))
        return str(probe.getsockname()[0])
    return "127.0.0.1"
