"""Build the agent as one file: `.venv/bin/python agent/build_pyz.py OUT.pyz`.

The file runs under CPython 3.11 to 3.15 on Linux with glibc, x86-64 and arm64, without network:
compiled dependencies of both machines are inside. They are the versions and hashes of
requirements.lock, fetched by name through pip. shiv and pex make files for one machine, hence this.

Layout: `__main__.py` (agent/pyz_main.py), `digest`, `version`, and the trees `common/`, `x86_64/`, `aarch64/`,
of which the first run unpacks two. The same sources give the same bytes.
"""

import argparse
import hashlib
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent
MACHINES = ("x86_64", "aarch64")
PYTHONS = ("3.11", "3.12", "3.13", "3.14", "3.15")
"""The cffi backend is compiled for each; cryptography's stable ABI serves all."""

_GLIBC = ("manylinux_2_17", "manylinux2014", "manylinux_2_28")
_EPOCH = (1980, 1, 1, 0, 0, 0)


class CannotBuild(Exception):
    """The file cannot be built; the text says why."""


def main() -> int:
    """Exit code 0, or 1 with a sentence on stderr."""
    parser = argparse.ArgumentParser(description="Build the agent as one .pyz file.")
    parser.add_argument("out", type=Path, metavar="OUT.pyz")
    parser.add_argument("--lock", type=Path, default=REPOSITORY / "requirements.lock")
    options = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory() as scratch:
            build(options.out, options.lock, Path(scratch))
    except (CannotBuild, OSError) as error:
        print(f"build_pyz: {error}", file=sys.stderr)
        return 1
    print(f"{options.out}: {options.out.stat().st_size / 1e6:.1f} MB")
    return 0


def build(out: Path, lock: Path, scratch: Path) -> None:
    """Raises CannotBuild."""
    pins = {name: _pin(lock, name) for name in ("cffi", "cryptography", "pyyaml", "websockets")}
    entries: dict[str, bytes] = dict(_agent())
    wheel = _download(pins["websockets"], scratch / "websockets", ["--platform", "any"], "py", "none", PYTHONS[0])
    entries |= {f"common/{name}": data for name, data in _content(wheel)}
    platforms = [text for glibc in _GLIBC for text in ("--platform", f"{glibc}_{MACHINES[0]}")]
    abi = f"cp{PYTHONS[0].replace('.', '')}"
    wheel = _download(pins["pyyaml"], scratch / "pyyaml", platforms, "cp", abi, PYTHONS[0])
    # reads YAML without its compiled half, which would be one for each machine and Python
    entries |= {f"common/{name}": data for name, data in _content(wheel) if not name.endswith(".so")}
    for machine in MACHINES:
        platforms = [text for glibc in _GLIBC for text in ("--platform", f"{glibc}_{machine}")]
        wheel = _download(pins["cryptography"], scratch / machine, platforms, "cp", "abi3", PYTHONS[0])
        entries |= {f"{machine}/{name}": data for name, data in _content(wheel)}
        for python in PYTHONS:
            abi = f"cp{python.replace('.', '')}"
            wheel = _download(pins["cffi"], scratch / machine / abi, platforms, "cp", abi, python)
            # cryptography needs the compiled backend alone, neither the cffi package nor its C parser
            backend = {f"{machine}/{name}": data for name, data in _content(wheel) if name.startswith("_cffi_backend")}
            if not backend:
                raise CannotBuild(f"{wheel.name} has no compiled backend")
            entries |= backend
    entries["version"] = _version().encode()
    _write(out, entries)


def _version() -> str:
    """In the four-part form that the protocol uses; the server offers the file by it."""
    text = (REPOSITORY / "src" / "pilothouse_agent" / "__init__.py").read_text()
    found = re.search(r'^__version__ = "([0-9.]+)"$', text, re.MULTILINE)
    if found is None:
        raise CannotBuild("src/pilothouse_agent/__init__.py has no version")
    return f"{found[1]}.0"


def _pin(lock: Path, name: str) -> str:
    """The lock's entry for a package, hashes included, without its environment marker."""
    found = re.search(rf"^{name}==[^ ]+.*?(?=^\S)", lock.read_text() + "\nend", re.MULTILINE | re.DOTALL)
    if found is None:
        raise CannotBuild(f"{lock} has no entry for {name}")
    lines = [line for line in found.group().splitlines() if not line.lstrip().startswith("#")]
    return "\n".join([re.sub(r" ;[^\\]*", " ", lines[0]), *lines[1:]]).rstrip(" \\\n") + "\n"


def _download(pin: str, to: Path, platforms: list[str], implementation: str, abi: str, python: str) -> Path:
    to.mkdir(parents=True)
    requirement = to / "requirement.txt"
    requirement.write_text(pin)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary", ":all:", "--require-hashes", "--requirement", str(requirement), "--dest", str(to)]
    command += [*platforms, "--implementation", implementation, "--abi", abi, "--python-version", python]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 -- our own words only
    wheels = list(to.glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        raise CannotBuild(f"{pin.split()[0]} for {' '.join(platforms)} Python {python}: {done.stderr.strip()}")
    return wheels[0]


def _content(wheel: Path) -> Iterator[tuple[str, bytes]]:
    """Files of a wheel that running needs, and its licence."""
    with zipfile.ZipFile(wheel) as packed:
        for name in packed.namelist():
            if name.endswith(("/", ".pyi", ".c", "py.typed", "RECORD")):
                continue
            if ".dist-info/" in name and "licenses/" not in name and not name.endswith("METADATA"):
                continue
            yield name, packed.read(name)


def _agent() -> Iterator[tuple[str, bytes]]:
    source = REPOSITORY / "src"
    for path in sorted((source / "pilothouse_agent").rglob("*.py")):
        yield f"common/{path.relative_to(source)}", path.read_bytes()
    yield "common/pilothouse_agent/LICENSE", (REPOSITORY / "LICENSE").read_bytes()


def _write(out: Path, entries: dict[str, bytes]) -> None:
    digest = hashlib.sha256()
    for name in sorted(entries):
        digest.update(name.encode() + b"\0" + hashlib.sha256(entries[name]).digest())
    entries = {
        "__main__.py": (HERE / "pyz_main.py").read_bytes(),
        "digest": digest.hexdigest().encode(),
        **{name: entries[name] for name in sorted(entries)},
    }
    fresh = out.with_name(out.name + ".new")
    with fresh.open("wb") as file:
        file.write(b"#!/usr/bin/env python3\n")
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as packed:
            for name, data in entries.items():
                packed.writestr(zipfile.ZipInfo(name, _EPOCH), data, zipfile.ZIP_DEFLATED)
    fresh.chmod(0o755)
    fresh.replace(out)


if __name__ == "__main__":
    sys.exit(main())
