"""Finding the Python binding of libvirt: that of this Python's packages, else that of the system's where it fits."""

import importlib
import importlib.util
import sys
import threading
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any, Final

import structlog

from pilothouse.capabilities.machines.driver import DriverFailed

log = structlog.get_logger()

_SYSTEM: Final = (Path("/usr/lib/python3/dist-packages"), Path("/usr/lib64/python3/site-packages"))
"""Where packages of distributions put it. It fits when it was made for this version of Python."""
MISSING: Final = (
    "the Python binding of libvirt is not installed; install python3-libvirt from the distribution, or libvirt-python "
    "into this Python, and restart"
)


LOADING: Final = threading.Lock()
"""Each connection has threads of its own, which want the module at the same time; of two, neither would know the
exceptions of the other."""
_found: list[Any] = []


def libvirt() -> Any:
    """The module `libvirt`, ready for use. Raises DriverFailed, which says what to install."""
    with LOADING:
        if not _found:
            _found.append(_ready())
        return _found[0]


def _ready() -> Any:
    try:
        module: Any = importlib.import_module("libvirt")
    except ImportError:
        module = _of_the_system()
    module.registerErrorHandler(lambda *_: None, None)  # it would write to stderr what is an exception as well
    module.virEventRegisterDefaultImpl()

    def turn() -> None:
        while True:
            module.virEventRunDefaultImpl()

    threading.Thread(target=turn, name="libvirt events", daemon=True).start()
    return module


def _of_the_system() -> Any:
    for folder in _SYSTEM:
        extension = next((file for each in EXTENSION_SUFFIXES if (file := folder / f"libvirtmod{each}").exists()), None)
        if extension is None or not (folder / "libvirt.py").exists():
            continue
        try:
            _loaded("libvirtmod", extension)
            return _loaded("libvirt", folder / "libvirt.py")
        except ImportError as error:
            log.warning("machines.binding_not_loaded", folder=str(folder), error=str(error))
    raise DriverFailed(MISSING)


def _loaded(name: str, file: Path) -> Any:
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
