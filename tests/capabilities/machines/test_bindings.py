"""The Python binding of libvirt is loaded once, however many connections there are."""

import importlib
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from pilothouse.capabilities.machines import bindings


def test_threads_that_want_the_binding_at_once_share_it(monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[bool] = []

    def missing(name: str) -> Any:
        raise ImportError(name)

    def of_the_system() -> Any:
        held.append(bindings.LOADING.locked())
        return SimpleNamespace(
            registerErrorHandler=lambda *_: None, virEventRegisterDefaultImpl=lambda: None,
            virEventRunDefaultImpl=threading.Event().wait,
        )  # fmt: skip

    monkeypatch.setattr(importlib, "import_module", missing)
    monkeypatch.setattr(bindings, "_of_the_system", of_the_system)
    monkeypatch.setattr(bindings, "_found", [])
    assert bindings.libvirt() is bindings.libvirt()
    assert held == [True]  # others wait, and then find it
