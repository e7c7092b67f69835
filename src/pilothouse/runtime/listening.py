"""Where the running server listens: written at start for the commands beside it."""

import ipaddress
import json
from pathlib import Path

from pilothouse.runtime.files import write_private

_FILE = "listening.json"
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - read, not bound


def split_address(address: str) -> tuple[str, int]:
    """`HOST:PORT` or `[V6]:PORT` as host and port. Raises ValueError with a sentence for the user."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65_535:
        raise ValueError(f"{address!r} is not HOST:PORT")
    return host.removeprefix("[").removesuffix("]"), int(port)


def listeners_of(http: str, https: str, *, dev: bool) -> tuple[tuple[str, int], tuple[str, int]]:
    """Where to listen plainly, on loopback only, and with TLS. Raises ValueError with a sentence for the user."""
    plain, secure = split_address(http), split_address(https)
    if not _is_loopback(plain[0]):
        raise ValueError(f"the plain listener is for loopback only, {http} is not; nodes use --https")
    if dev and not _is_loopback(secure[0]):
        raise ValueError(f"--dev is for loopback listeners only; add --https 127.0.0.1:{secure[1]}")
    return plain, secure


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def client_url(scheme: str, address: str) -> str:
    """The URL by which this machine reaches a listener; one that listens everywhere is reached by loopback."""
    host, port = split_address(address)
    host = _EVERYWHERE.get(host, host)
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def write_listening(data: Path, http: str, https: str) -> None:
    """Remember the addresses really bound (a port 0 in the settings becomes a real one)."""
    write_private(data / _FILE, json.dumps({"http": http, "https": https}).encode())


def read_listening(data: Path) -> dict[str, str] | None:
    """What the last server wrote, or None."""
    try:
        found: dict[str, str] = json.loads((data / _FILE).read_text("utf-8"))
    except FileNotFoundError:
        return None
    return found
