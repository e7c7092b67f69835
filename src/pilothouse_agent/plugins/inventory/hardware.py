"""AWS:InstanceDetailedInformation and AWS:Network: the machine and its interfaces."""

import contextlib
import fcntl
import ipaddress
import json
import os
import socket
import struct
from pathlib import Path

from pilothouse_agent.plugins.inventory import Entry
from pilothouse_agent.plugins.inventory.programs import output_of

_FLAGS, _ADDRESS, _NETMASK, _HARDWARE = 0x8913, 0x8915, 0x891B, 0x8927  # SIOCGIFFLAGS and so on
_LOOPBACK = 0x8
_ETHERNET = 1  # the kind of hardware address that has six bytes
_UP_GATEWAY = 0x3  # route flags: up, through a gateway


def detailed_information() -> list[Entry]:
    """One entry, as lscpu and the kernel tell."""
    text = output_of("lscpu", "--json")
    return [] if text is None else [of_lscpu(text, os.uname().release)]


def of_lscpu(text: str, kernel: str) -> Entry:
    """What `lscpu --json` says: fields, of which newer versions hold some in others."""
    values: dict[str, str] = {}
    with contextlib.suppress(ValueError, TypeError, KeyError):
        waiting = list(json.loads(text)["lscpu"])
        while waiting:
            each = waiting.pop()
            waiting += each.get("children") or ()
            values[str(each["field"]).rstrip(":")] = str(each.get("data") or "")
    sockets, cores, threads = (
        _number(values.get(name)) for name in ("Socket(s)", "Core(s) per socket", "Thread(s) per core")
    )
    speed = values.get("CPU MHz") or values.get("CPU max MHz") or ""
    return {
        "CPUModel": values.get("Model name", ""),
        "CPUSpeedMHz": speed.partition(".")[0],
        "CPUs": values.get("CPU(s)", ""),
        "CPUSockets": "" if sockets is None else str(sockets),
        "CPUCores": "" if sockets is None or cores is None else str(sockets * cores),
        "CPUHyperThreadEnabled": "" if threads is None else str(threads > 1).lower(),
        "OSServicePack": "",
        "KernelVersion": kernel,
    }


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdigit() else None


def network() -> list[Entry]:
    """All interfaces but the loopback ones.

    The kernel is asked, not /sys: there a container may have the interfaces of its host.
    """
    gateways = of_routes(_text(Path("/proc/net/route")))
    sixes = of_if_inet6(_text(Path("/proc/net/if_inet6")))
    servers = of_resolv_conf(_text(Path("/etc/resolv.conf")))
    found: list[Entry] = []
    for name in sorted(name for _, name in socket.if_nameindex()):
        flags = _asked(name, _FLAGS)
        if flags is None or struct.unpack("H", flags[:2])[0] & _LOOPBACK:
            continue
        entry = {
            "Name": name,
            "SubnetMask": _dotted(_asked(name, _NETMASK)),
            "Gateway": gateways.get(name, ""),
            "DNSServer": ",".join(servers) if name in gateways else "",
            "MacAddress": _hardware(_asked(name, _HARDWARE)),
            "IPV4": _dotted(_asked(name, _ADDRESS)),
            "IPV6": sixes.get(name, ""),
        }
        found.append(
            {name: value for name, value in entry.items() if value or name in ("Name", "MacAddress", "IPV4", "IPV6")}
        )
    return found


def of_routes(text: str) -> dict[str, str]:
    """The default gateway of each interface that has one, from /proc/net/route."""
    found: dict[str, str] = {}
    for line in text.splitlines()[1:]:
        words = line.split()
        if len(words) >= 4 and words[1] == "00000000" and int(words[3], 16) & _UP_GATEWAY == _UP_GATEWAY:
            found.setdefault(words[0], socket.inet_ntoa(struct.pack("<I", int(words[2], 16))))
    return found


def of_if_inet6(text: str) -> dict[str, str]:
    """One address of each interface, from /proc/net/if_inet6: a global one if there is one."""
    found: dict[str, tuple[int, str]] = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) == 6:
            scope, name = int(words[3], 16), words[5]
            address = str(ipaddress.IPv6Address(bytes.fromhex(words[0])))
            if name not in found or scope < found[name][0]:
                found[name] = (scope, address)
    return {name: address for name, (_, address) in found.items()}


def of_resolv_conf(text: str) -> list[str]:
    words = (line.split() for line in text.splitlines())
    return [line[1] for line in words if len(line) > 1 and line[0] == "nameserver"]


def _asked(name: str, question: int) -> bytes | None:
    """What the kernel says of an interface; None if it has no answer."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        return fcntl.ioctl(asker, question, struct.pack("256s", name.encode()[:15]))[16:]
    return None


def _dotted(address: bytes | None) -> str:
    return "" if address is None else socket.inet_ntoa(address[4:8])


def _hardware(address: bytes | None) -> str:
    if address is None or struct.unpack("H", address[:2])[0] != _ETHERNET:
        return ""
    return address[2:8].hex(":")


def _text(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text("utf-8", "replace")
    return ""
