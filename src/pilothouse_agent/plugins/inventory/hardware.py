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

_ADDRESS, _NETMASK = 0x8915, 0x891B  # SIOCGIFADDR, SIOCGIFNETMASK
_LOOPBACK = 0x8
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
    """All interfaces but the loopback ones."""
    gateways = of_routes(_text(Path("/proc/net/route")))
    sixes = of_if_inet6(_text(Path("/proc/net/if_inet6")))
    servers = of_resolv_conf(_text(Path("/etc/resolv.conf")))
    found: list[Entry] = []
    for path in sorted(Path("/sys/class/net").glob("*")):
        if int(_text(path / "flags").strip() or "0", 16) & _LOOPBACK or not (path / "flags").exists():
            continue
        entry = {
            "Name": path.name,
            "SubnetMask": _asked(path.name, _NETMASK),
            "Gateway": gateways.get(path.name, ""),
            "DNSServer": ",".join(servers) if path.name in gateways else "",
            "MacAddress": _text(path / "address").strip(),
            "IPV4": _asked(path.name, _ADDRESS),
            "IPV6": sixes.get(path.name, ""),
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


def _asked(name: str, question: int) -> str:
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        answer = fcntl.ioctl(asker, question, struct.pack("256s", name.encode()[:15]))
        return socket.inet_ntoa(answer[20:24])
    return ""


def _text(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text("utf-8", "replace")
    return ""
