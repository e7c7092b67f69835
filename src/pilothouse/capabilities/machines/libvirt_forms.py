"""The XML of libvirt: what of a machine is told, and what is asked for. It comes from the operator's own hosts."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from xml.etree import ElementTree as ET

_OWN: Final = ("uuid", "seclabel", "genid", "title", "description", "metadata")
"""What is a machine's own and is no part of its form."""
_LINES: Final = ("serial", "console", "parallel", "channel")
_LINES_OF_ANY: Final = ("pty", "null", "vc", "spicevmc", "spiceport", "qemu-vdagent", "dbus", "nmdm")
"""Kinds of lines that each machine has for itself, as many as there are."""


@dataclass(frozen=True, slots=True)
class Form:
    """What the XML of a machine says."""

    vcpus: int
    memory_mib: int
    architecture: str
    disks: Mapping[str, tuple[str, str]]
    """By device the source: (`path`, PATH) or (pool, volume)."""


@dataclass(frozen=True, slots=True)
class Source:
    """What a disk stands on."""

    path: str
    form: str
    """Of its content, such as qcow2; empty where that is not known."""


def _parsed(xml: str) -> ET.Element:
    return ET.fromstring(xml)  # noqa: S314 - made by the libvirt of a host that the operator trusts with all of this


def form_of(xml: str) -> Form:
    """Of a domain's XML."""
    root = _parsed(xml)
    disks: dict[str, tuple[str, str]] = {}
    for disk in root.iterfind("devices/disk"):
        target, source = disk.find("target"), disk.find("source")
        if disk.get("device", "disk") != "disk" or target is None or source is None:
            continue
        if source.get("pool"):
            disks[target.get("dev", "")] = (source.get("pool", ""), source.get("volume", ""))
        else:
            disks[target.get("dev", "")] = ("path", source.get("file") or source.get("dev") or source.get("name") or "")
    memory = root.find("memory")
    kind = root.find("os/type")
    return Form(
        vcpus=int(root.findtext("vcpu") or 1),
        memory_mib=0 if memory is None else _mebibytes(memory),
        architecture=_architecture("" if kind is None else kind.get("arch", "")),
        disks=disks,
    )


def _mebibytes(memory: ET.Element) -> int:
    units = {"b": 1, "bytes": 1, "KB": 1000, "k": 1024, "KiB": 1024, "M": 1 << 20, "MiB": 1 << 20, "G": 1 << 30,
             "GiB": 1 << 30}  # fmt: skip
    return int(memory.text or 0) * units.get(memory.get("unit", "KiB"), 1024) >> 20


def _architecture(name: str) -> str:
    """As EC2 calls it."""
    return {"aarch64": "arm64", "i686": "i386"}.get(name, name or "x86_64")


def made_from(
    template: str, native: str, name: str, disks: Mapping[str, Source], vcpus: int | None, memory_mib: int | None
) -> str:
    """The XML of a new machine."""
    root = _parsed(template)
    root.attrib.pop("id", None)
    for tag in _OWN:
        for each in root.findall(tag):
            root.remove(each)
    ET.SubElement(root, "uuid").text = native
    named = root.find("name")
    if named is None:
        named = ET.SubElement(root, "name")
    named.text = name
    if vcpus is not None:
        for each in root.findall("vcpu"):
            root.remove(each)
        ET.SubElement(root, "vcpu").text = str(vcpus)
        _without(root, "cpu/topology")
    if memory_mib is not None:
        for tag in ("memory", "currentMemory"):
            for each in root.findall(tag):
                root.remove(each)
        ET.SubElement(root, "memory", unit="MiB").text = str(memory_mib)
    _without(root, "os/nvram")
    _without(root, "sysinfo/system/entry[@name='uuid']")
    _without(root, "devices/interface/mac")
    _without(root, "devices/interface/target")
    _free_of_the_host(root)
    _put_disks(root, disks)
    return ET.tostring(root, encoding="unicode")


def _free_of_the_host(root: ET.Element) -> None:
    """Without the files, sockets, ports and numbers of the host that only one machine can have."""
    for kind in _LINES:
        for line in root.iterfind(f"devices/{kind}"):
            if line.get("type") not in _LINES_OF_ANY:
                line.set("type", "unix" if kind == "channel" else "pty")
                for each in line.findall("source"):
                    line.remove(each)
    for kind in _LINES:
        _without(root, f"devices/{kind}/log")
        _without(root, f"devices/{kind}[@type='pty']/source")
    for screen in root.iterfind("devices/graphics"):
        if screen.get("port") or screen.get("tlsPort") or screen.get("websocket"):
            for name in ("port", "tlsPort", "websocket"):
                screen.attrib.pop(name, None)
            screen.set("autoport", "yes")
    for cid in root.iterfind("devices/vsock/cid"):
        cid.attrib.pop("address", None)
        cid.set("auto", "yes")


def _without(root: ET.Element, path: str) -> None:
    above, _, last = path.rpartition("/")
    for parent in root.iterfind(above):
        for each in parent.findall(last):
            parent.remove(each)


def exchanged(xml: str, device: str, source: Source) -> str:
    """The XML of a machine with another source of one of its disks."""
    root = _parsed(xml)
    for disk in root.iterfind("devices/disk"):
        target = disk.find("target")
        if target is not None and target.get("dev") == device:
            _put_source(disk, source)
    return ET.tostring(root, encoding="unicode")


def _put_source(disk: ET.Element, source: Source) -> None:
    """A copy may be of another form than what it was copied from: the machine must know which."""
    for tag in ("source", "backingStore"):
        for each in disk.findall(tag):
            disk.remove(each)
    disk.set("type", "file")
    ET.SubElement(disk, "source", file=source.path)
    driver = disk.find("driver")
    if driver is not None and source.form in ("raw", "qcow2"):
        driver.set("type", source.form)


def _put_disks(root: ET.Element, disks: Mapping[str, Source]) -> None:
    devices = root.find("devices")
    if devices is None:
        return
    for disk in devices.findall("disk"):
        target = disk.find("target")
        device = "" if target is None else target.get("dev", "")
        if disk.get("device", "disk") != "disk" or device not in disks:
            devices.remove(disk)  # a medium that was in a drive, or what was no part of the image
            continue
        _put_source(disk, disks[device])


def volume_form(xml: str) -> str:
    """The format of a volume, of its XML; empty where it has none."""
    found = _parsed(xml).find("target/format")
    return "" if found is None else found.get("type", "")


def volume(name: str, size_bytes: int, form: str) -> str:
    """The XML of a new volume."""
    root = ET.Element("volume")
    ET.SubElement(root, "name").text = name
    ET.SubElement(root, "capacity", unit="bytes").text = str(size_bytes)
    if form:
        ET.SubElement(ET.SubElement(root, "target"), "format", type=form)
    return ET.tostring(root, encoding="unicode")


def backup(devices: list[str], device: str, path: str) -> str:
    """The XML of a backup of one of a machine's disks into a file that is there."""
    root = ET.Element("domainbackup", mode="push")
    disks = ET.SubElement(root, "disks")
    for each in devices:
        disk = ET.SubElement(disks, "disk", name=each, backup="yes" if each == device else "no")
        if each == device:
            disk.set("type", "file")
            ET.SubElement(disk, "target", file=path)
            ET.SubElement(disk, "driver", type="qcow2")
    return ET.tostring(root, encoding="unicode")


def backed_up_to(xml: str) -> list[str]:
    """The files that a backup writes."""
    return [each.get("file", "") for each in _parsed(xml).iterfind("disks/disk/target")]
