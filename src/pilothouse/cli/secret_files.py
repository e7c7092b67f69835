"""Values of secrets on their way through files: in memory for an editor, sealed to a public key for a journey."""

import json
import os
import shlex
import subprocess
import tempfile
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from pilothouse.cli.shared import Failed

FORMAT: Final = "pilothouse secrets, sealed with X25519, HKDF-SHA256 and AES-256-GCM, 1"
_HOW: Final = (
    "make a pair with: openssl genpkey -algorithm X25519 -out key.pem; openssl pkey -in key.pem -pubout -out pub.pem"
)
_MOST_BYTES: Final = 256 << 20


def edited(text: str, *, suffix: str) -> str:
    """The text as it is after $VISUAL or $EDITOR had it. Raises Failed."""
    command = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi")
    with _private_directory() as directory:
        file = directory / f"secret{suffix}"
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as opened:
            opened.write(text)
        try:
            done = subprocess.run([*command, str(file)], check=False)  # noqa: S603 - the user's own editor
        except OSError as error:
            raise Failed(f"the editor {command[0]} cannot be started; set EDITOR") from error
        if done.returncode:
            raise Failed(f"the editor ended with {done.returncode}; nothing was put")
        after = file.read_text("utf-8")
    # Editors end a text with a line break, which the value did not have.
    return after[:-1] if after.endswith("\n") and not text.endswith("\n") else after


@contextmanager
def _private_directory() -> Iterator[Path]:
    """A directory in memory that nobody else can enter. Raises Failed where there is no such place."""
    for place in (os.environ.get("XDG_RUNTIME_DIR"), "/dev/shm"):  # noqa: S108 - a directory of our own in it
        if place and os.access(place, os.W_OK) and _is_memory(place):
            with tempfile.TemporaryDirectory(prefix="pilothouse-", dir=place) as made:  # mode 0700
                yield Path(made)
            return
    raise Failed("there is no file system in memory (XDG_RUNTIME_DIR, /dev/shm) for the editor's file")


def _is_memory(place: str) -> bool:
    real, best, kind = os.path.realpath(place), "", ""
    try:
        mounts = Path("/proc/self/mounts").read_text("utf-8", "replace").splitlines()
    except OSError:
        return False
    for line in mounts:
        _, where, found, *_ = line.split(" ")
        if (real == where or real.startswith(where.rstrip("/") + "/")) and len(where) >= len(best):
            best, kind = where, found
    return kind in {"tmpfs", "ramfs"}


def seal_to(public_key: Path, content: bytes) -> str:
    """The content for whoever has the private key, as a line of JSON. Raises Failed."""
    try:
        theirs = serialization.load_pem_public_key(public_key.read_bytes())
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        raise Failed(f"{public_key} is no public key in PEM; {_HOW}") from error
    if not isinstance(theirs, X25519PublicKey):
        raise Failed(f"{public_key} is no X25519 public key; {_HOW}")
    own = X25519PrivateKey.generate()
    raw = own.public_key().public_bytes_raw()
    nonce = os.urandom(12)
    key = _key(own.exchange(theirs), raw, theirs.public_bytes_raw())
    sealed = AESGCM(key).encrypt(nonce, content, FORMAT.encode())
    told = {"format": FORMAT, "from": _text(raw), "nonce": _text(nonce), "sealed": _text(sealed)}
    return json.dumps(told) + "\n"


def open_sealed(private_key: Path, file: Path) -> bytes:
    """The content again. Raises Failed."""
    try:
        own = serialization.load_pem_private_key(private_key.read_bytes(), None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise Failed(f"{private_key} is no private key in PEM without a passphrase") from error
    if not isinstance(own, X25519PrivateKey):
        raise Failed(f"{private_key} is no X25519 private key")
    try:
        with file.open("rb") as opened:
            told = json.loads(opened.read(_MOST_BYTES))
        if told["format"] != FORMAT:
            raise ValueError
        raw, nonce, sealed = (b64decode(told[name], validate=True) for name in ("from", "nonce", "sealed"))
        shared = own.exchange(X25519PublicKey.from_public_bytes(raw))
        return AESGCM(_key(shared, raw, own.public_key().public_bytes_raw())).decrypt(nonce, sealed, FORMAT.encode())
    except InvalidTag as error:
        raise Failed(f"{file} was sealed to another key, or changed since") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Failed(f"{file} is not what `pilothouse secrets export` writes") from error


def _key(shared: bytes, ours: bytes, theirs: bytes) -> bytes:
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=FORMAT.encode() + ours + theirs).derive(shared)


def _text(raw: bytes) -> str:
    return b64encode(raw).decode()
