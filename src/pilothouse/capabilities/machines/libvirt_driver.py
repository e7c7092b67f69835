"""The driver for libvirt: QEMU/KVM and whatever else it manages, here or on another host, by its URI."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from pilothouse.capabilities.machines import libvirt_forms as forms
from pilothouse.capabilities.machines.bindings import libvirt
from pilothouse.capabilities.machines.driver import CannotDo, Driver, DriverFailed, NotThere, Seen, SeenDisk

_LOOK_SECONDS: Final = 0.2
_QCOW2: Final = b"QFI\xfb"
_KEEPALIVE: Final = (10, 3)
"""Seconds between questions whether the other side is there, and how many it may leave open."""


class LibvirtDriver(Driver):
    """One connection, made anew when it broke. Its functions may be called from several threads at once."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._connection: Any = None
        self._opening = threading.Lock()

    def look(self) -> list[Seen]:
        with self._told() as connection:
            return [seen for each in connection.listAllDomains(0) if (seen := _seen(connection, each)) is not None]

    def find(self, native: str) -> Seen | None:
        with self._told() as connection:
            domain = _domain_or_none(connection, native)
            return None if domain is None else _seen(connection, domain)

    def start(self, native: str) -> None:
        with self._told() as connection:
            domain = _domain(connection, native)
            if not domain.isActive():
                domain.create()

    def ask_to_stop(self, native: str) -> None:
        with self._told() as connection:
            domain = _domain(connection, native)
            if domain.isActive():
                domain.shutdown()

    def cut(self, native: str) -> None:
        with self._told() as connection:
            domain = _domain(connection, native)
            if domain.isActive():
                domain.destroy()

    def remove(self, native: str) -> None:
        lib = libvirt()
        with self._told() as connection:
            domain = _domain_or_none(connection, native)
            if domain is None:
                return
            lasting = domain.isPersistent()
            if domain.isActive():
                domain.destroy()
            if not lasting:
                return
            flags = (
                lib.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
                | lib.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
                | lib.VIR_DOMAIN_UNDEFINE_NVRAM
            )
            try:
                domain.undefineFlags(flags)
            except lib.libvirtError as error:
                if error.get_error_code() not in _unsupported(lib):
                    raise
                domain.undefine()

    def template(self, native: str) -> str:
        lib = libvirt()
        with self._told() as connection:
            xml: str = _domain(connection, native).XMLDesc(lib.VIR_DOMAIN_XML_INACTIVE)
            return xml

    def define(
        self, template: str, native: str, name: str, disks: dict[str, str], vcpus: int | None, memory_mib: int | None
    ) -> None:
        with self._told() as connection:
            if _domain_or_none(connection, native) is None:
                whole = {device: _source_of(connection, volume) for device, volume in disks.items()}
                connection.defineXML(forms.made_from(template, native, name, whole, vcpus, memory_mib))

    def exchange(self, native: str, device: str, volume: str) -> None:
        lib = libvirt()
        with self._told() as connection:
            domain = _domain(connection, native)
            if not domain.isPersistent():
                raise CannotDo("the machine is not defined on its host: its disks cannot be exchanged")
            xml = domain.XMLDesc(lib.VIR_DOMAIN_XML_INACTIVE | lib.VIR_DOMAIN_XML_SECURE)
            source = forms.form_of(xml).disks.get(device)
            if source is None:
                raise NotThere(f"the machine has no disk {device}")
            if source != ("path", volume):
                connection.defineXML(forms.exchanged(xml, device, _source_of(connection, volume)))

    def copy(self, volume: str, name: str, *, running: str | None = None) -> str:
        with self._told() as connection:
            source = _volume(connection, volume)
            pool = source.storagePoolLookupByVolume()
            if running is None:
                form = forms.volume_form(source.XMLDesc(0))
                made = pool.createXMLFrom(forms.volume(name, source.info()[1], form), source, 0)
            else:
                made = pool.createXML(forms.volume(name, source.info()[1], "qcow2"), 0)
                _back_up(connection, _domain(connection, running), volume, made.path())
            path: str = made.path()
            return path

    def clear(self, beside: str, prefix: str, keep: str) -> None:
        with self._told() as connection:
            try:
                pool = _volume(connection, beside).storagePoolLookupByVolume()
            except NotThere:
                return
            for each in pool.listAllVolumes(0):
                if each.name().startswith(prefix) and each.name() != keep:
                    each.delete(0)

    def delete(self, volume: str) -> None:
        with self._told() as connection:
            try:
                found = _volume(connection, volume)
            except NotThere:
                return
            found.delete(0)

    def fetch(self, volume: str, path: str) -> int:
        with self._told() as connection, Path(path).open("wb") as file:
            source = _volume(connection, volume)
            stream = connection.newStream(0)
            source.download(stream, 0, 0, 0)
            stream.recvAll(lambda _stream, piece, _: file.write(piece), None)
            stream.finish()
            size: int = source.info()[1]
            return size

    def bring(self, path: str, name: str, size_bytes: int, prefix: str) -> str:
        with self._told() as connection, Path(path).open("rb") as file:
            form = "qcow2" if file.read(len(_QCOW2)) == _QCOW2 else "raw"
            file.seek(0)
            pool = _pool(connection)
            for each in pool.listAllVolumes(0):
                if each.name().startswith(prefix):
                    each.delete(0)
            made = pool.createXML(forms.volume(name, size_bytes, form), 0)
            stream = connection.newStream(0)
            made.upload(stream, 0, 0, 0)
            stream.sendAll(lambda _stream, count, _: file.read(count), None)
            stream.finish()
            told: str = made.path()
            return told

    def close(self) -> None:
        with self._opening:
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    @contextmanager
    def _told(self) -> Iterator[Any]:
        """The connection; what libvirt raises becomes what drivers raise."""
        lib = libvirt()
        try:
            yield self._opened(lib)
        except lib.libvirtError as error:
            text = str(error.get_error_message() or error)
            code = error.get_error_code()
            if code in (lib.VIR_ERR_NO_DOMAIN, lib.VIR_ERR_NO_STORAGE_VOL):
                raise NotThere(text) from error
            if code in _unsupported(lib):
                raise CannotDo(text) from error
            raise DriverFailed(text) from error
        except OSError as error:
            raise DriverFailed(f"a file of the server cannot be used: {error.strerror}") from error

    def _opened(self, lib: Any) -> Any:
        with self._opening:
            if self._connection is not None and not _alive(lib, self._connection):
                self._connection = None
            if self._connection is None:
                self._connection = lib.open(self._uri)
                try:
                    self._connection.setKeepAlive(*_KEEPALIVE)
                except lib.libvirtError as error:  # a driver within this process has no other side
                    if error.get_error_code() not in _unsupported(lib):
                        raise
            return self._connection


def _alive(lib: Any, connection: Any) -> bool:
    try:
        return bool(connection.isAlive())
    except lib.libvirtError:
        return False


def _unsupported(lib: Any) -> tuple[int, ...]:
    return (
        lib.VIR_ERR_NO_SUPPORT,
        lib.VIR_ERR_ARGUMENT_UNSUPPORTED,
        lib.VIR_ERR_CONFIG_UNSUPPORTED,
        lib.VIR_ERR_OPERATION_UNSUPPORTED,
        lib.VIR_ERR_INVALID_ARG,
    )


def _domain_or_none(connection: Any, native: str) -> Any:
    lib = libvirt()
    try:
        return connection.lookupByUUIDString(native)
    except lib.libvirtError as error:
        if error.get_error_code() == lib.VIR_ERR_NO_DOMAIN:
            return None
        raise


def _domain(connection: Any, native: str) -> Any:
    found = _domain_or_none(connection, native)
    if found is None:
        raise NotThere(f"there is no machine {native}")
    return found


def _volume(connection: Any, path: str) -> Any:
    lib = libvirt()
    try:
        return connection.storageVolLookupByPath(path)
    except lib.libvirtError as error:
        if error.get_error_code() != lib.VIR_ERR_NO_STORAGE_VOL:
            raise
    for pool in connection.listAllStoragePools(lib.VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE):
        _refreshed(lib, pool)  # somebody may have put the file there
    try:
        return connection.storageVolLookupByPath(path)
    except lib.libvirtError as error:
        if error.get_error_code() == lib.VIR_ERR_NO_STORAGE_VOL:
            raise NotThere(f"{path} is not in a storage pool of libvirt that is active") from error
        raise


def _source_of(connection: Any, path: str) -> forms.Source:
    """A volume as the source of a disk."""
    return forms.Source(path=path, form=forms.volume_form(_volume(connection, path).XMLDesc(0)))


def _pool(connection: Any) -> Any:
    """Where new volumes go that stand beside none: `default` if it is there, else the first by name."""
    lib = libvirt()
    pools = {each.name(): each for each in connection.listAllStoragePools(lib.VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE)}
    if not pools:
        raise DriverFailed("the host has no storage pool that is active")
    return pools.get("default") or pools[min(pools)]


def _refreshed(lib: Any, pool: Any) -> None:
    _quietly(lib, lambda: pool.refresh(0))


def _quietly(lib: Any, ask: Callable[[], Any]) -> Any:
    try:
        return ask()
    except lib.libvirtError:
        return None


def _seen(connection: Any, domain: Any) -> Seen | None:
    """None for a machine that went meanwhile."""
    lib = libvirt()
    try:
        state = domain.state()[0]
        form = forms.form_of(domain.XMLDesc(0))
        number = domain.ID()
        running = state not in (lib.VIR_DOMAIN_SHUTOFF, lib.VIR_DOMAIN_CRASHED, lib.VIR_DOMAIN_NOSTATE)
        return Seen(
            native=domain.UUIDString(),
            name=domain.name(),
            running=running,
            run=number if running and number >= 0 else None,
            vcpus=form.vcpus,
            memory_mib=form.memory_mib,
            architecture=form.architecture,
            disks=tuple(_seen_disk(connection, device, *source) for device, source in form.disks.items()),
            addresses=_addresses(lib, domain) if running else (),
            lasting=bool(domain.isPersistent()),
        )
    except lib.libvirtError as error:
        if error.get_error_code() == lib.VIR_ERR_NO_DOMAIN:
            return None
        raise


def _seen_disk(connection: Any, device: str, kind: str, name: str) -> SeenDisk:
    lib = libvirt()

    def found() -> Any:
        if kind == "path":
            return connection.storageVolLookupByPath(name)
        return connection.storagePoolLookupByName(kind).storageVolLookupByName(name)

    volume = _quietly(lib, found)
    if volume is None:
        return SeenDisk(device=device, volume=name, size_bytes=0)
    return SeenDisk(device=device, volume=volume.path(), size_bytes=volume.info()[1])


def _addresses(lib: Any, domain: Any) -> tuple[str, ...]:
    """Of leases; IPv4 first."""
    told = _quietly(lib, lambda: domain.interfaceAddresses(lib.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_LEASE, 0)) or {}
    found = [each["addr"] for interface in told.values() for each in interface.get("addrs") or ()]
    return tuple(sorted(found, key=lambda address: ":" in address))


def _back_up(connection: Any, domain: Any, volume: str, path: str) -> None:
    """Write a running machine's disk, as it is at this moment, to a file; returns when it is whole."""
    lib = libvirt()
    disks = forms.form_of(domain.XMLDesc(0)).disks
    device = next(
        (each for each, source in disks.items() if _seen_disk(connection, each, *source).volume == volume), ""
    )
    if not device:
        raise NotThere(f"the machine has no disk {volume}")
    left = _quietly(lib, lambda: domain.backupGetXMLDesc(0))
    if left is not None and any("/snap-" in each for each in forms.backed_up_to(left)):
        domain.abortJob()  # begun by a server that died
    domain.backupBegin(forms.backup(list(disks), device, path), None, lib.VIR_DOMAIN_BACKUP_BEGIN_REUSE_EXTERNAL)
    pause = threading.Event()
    while _quietly(lib, lambda: domain.backupGetXMLDesc(0)) is not None:
        pause.wait(_LOOK_SECONDS)
    done = domain.jobStats(lib.VIR_DOMAIN_JOB_STATS_COMPLETED | lib.VIR_DOMAIN_JOB_STATS_KEEP_COMPLETED)
    if done.get("type") != lib.VIR_DOMAIN_JOB_COMPLETED:
        raise DriverFailed(done.get(lib.VIR_DOMAIN_JOB_ERRMSG) or "the copy of the running machine's disk failed")
