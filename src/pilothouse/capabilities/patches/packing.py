"""The program that nodes patch with as one file: the same bytes each time."""

import hashlib
import io
import zipfile
from functools import cache
from importlib import resources
from typing import Final

_PACKAGE: Final = "pilothouse_patching"
_START: Final = f"import sys\n\nfrom {_PACKAGE}.__main__ import main\n\nsys.exit(main())\n"
_AT: Final = (2025, 12, 1, 0, 0, 0)


@cache
def packed() -> bytes:
    """A zip file that Python runs."""
    out = io.BytesIO()
    files = {
        f"{_PACKAGE}/{each.name}": each.read_text("utf-8")
        for each in resources.files(_PACKAGE).iterdir()
        if each.name[-3:] == ".py"
    }
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in sorted({**files, "__main__.py": _START}.items()):
            archive.writestr(zipfile.ZipInfo(name, _AT), text, zipfile.ZIP_DEFLATED)
    return out.getvalue()


@cache
def digest() -> str:
    """Its SHA-256, hexadecimal."""
    return hashlib.sha256(packed()).hexdigest()
