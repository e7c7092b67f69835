"""The master key: what wraps the installation's root keys, and where it may be kept.

`file` (master.key in the data directory), `environment` (PILOTHOUSE_MASTER_KEY), `aws-kms:...` (a KMS that speaks AWS's
API) and `transit:...` (OpenBao or Vault). Only the first two bring the key into this process. Nothing here overwrites
a key: a missing one is made only where `crypto/ring` finds nothing that was sealed under another.
"""

import base64
import binascii
import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from pilothouse.crypto.vault import derived, fingerprint_of
from pilothouse.runtime.files import write_private

VARIABLE: Final = "PILOTHOUSE_MASTER_KEY"
NEW_VARIABLE: Final = "PILOTHOUSE_NEW_MASTER_KEY"
"""Holds the next key while an installation whose key is in the environment gets another."""
FILE: Final = "master.key"
NEXT_FILE: Final = "master.key.next"

_KEY_BYTES: Final = 32
_NONCE: Final = 12
_OPEN_TO_OTHERS: Final = 0o027
"""Bits of a file's mode: all of others, and writing by the group. Some systems hand out files that a group may read."""
_WRAPPED: Final = b"\x03"
_SEALED_BEFORE_THE_RING: Final = b"\x01"


class MasterKeyUnusable(Exception):
    """The master key is missing, malformed, unreachable or not this installation's; the text says what to do."""


class MasterKeyUnreachable(MasterKeyUnusable):
    """The place that keeps the master key does not answer now; it may later."""


class WrappingBroken(MasterKeyUnusable):
    """What is to be opened was altered, belongs to another place, or was wrapped by another key."""


class MasterKey(Protocol):
    """Wraps and unwraps a few bytes. Calls may go over the network and are bounded in time."""

    @property
    def name(self) -> str:
        """The setting that names it, such as `file` or `transit:https://…`. No secret."""

    @property
    def fingerprint(self) -> str:
        """32 hex digits that tell master keys apart and nothing about them."""

    async def wrap(self, plaintext: bytes, context: str) -> bytes:
        """Up to 4 KiB, bound to the context. Raises MasterKeyUnusable."""

    async def unwrap(self, wrapped: bytes, context: str) -> bytes:
        """What was wrapped. Raises MasterKeyUnusable, also for another context or an altered blob."""

    async def rewrap(self, wrapped: bytes, context: str) -> bytes:
        """The same under the key's newest version. Raises MasterKeyUnusable."""


class LocalKey:
    """A master key of 32 bytes held in memory. Its repr shows nothing."""

    def __init__(self, key: bytes, name: str) -> None:
        if len(key) != _KEY_BYTES:
            raise ValueError("a master key has 32 bytes")
        self.__key = key
        self.name = name
        self.fingerprint = fingerprint_of(key)
        self._cipher = AESGCM(derived(key, "wrap"))

    @property
    def key(self) -> bytes:
        """The key itself: before there was a ring, values were sealed straight under it."""
        return self.__key

    @property
    def text(self) -> bytes:
        """The key as its file holds it."""
        return base64.b64encode(self.__key) + b"\n"

    async def wrap(self, plaintext: bytes, context: str) -> bytes:
        nonce = secrets.token_bytes(_NONCE)
        return _WRAPPED + nonce + self._cipher.encrypt(nonce, plaintext, context.encode())

    async def unwrap(self, wrapped: bytes, context: str) -> bytes:
        form = wrapped[:1]
        if form == _SEALED_BEFORE_THE_RING:
            cipher = AESGCM(derived(self.__key, "seal"))
        elif form == _WRAPPED:
            cipher = self._cipher
        else:
            raise WrappingBroken(f"what the master key ({self.name}) is to open was not wrapped by one like it")
        try:
            return cipher.decrypt(wrapped[1 : 1 + _NONCE], wrapped[1 + _NONCE :], context.encode())
        except (InvalidTag, ValueError) as error:
            raise WrappingBroken(f"the master key ({self.name}) does not open what it is to open") from error

    async def rewrap(self, wrapped: bytes, context: str) -> bytes:
        return await self.wrap(await self.unwrap(wrapped, context), context)


def new_key(name: str) -> LocalKey:
    """A master key that was never there before, kept nowhere yet."""
    return LocalKey(secrets.token_bytes(_KEY_BYTES), name)


def save_key(file: Path, key: LocalKey) -> None:
    """Write the key's file, durable and private."""
    write_private(file, key.text)


def find_master(data: Path, setting: str = "", *, environment: Mapping[str, str] | None = None) -> MasterKey | None:
    """The master key that the setting names; None where that is a file which does not exist.

    An empty setting means the environment's key if there is one, else the file. Raises MasterKeyUnusable.
    """
    environment = os.environ if environment is None else environment
    kind, _, rest = setting.partition(":")
    if kind in {"aws-kms", "transit"} and rest:
        return _outside(kind, rest, setting, environment)
    if setting not in {"", "file", "environment"}:
        raise MasterKeyUnusable(  # without its text: somebody may have put the key itself there
            "master_key names no place that is known: use file, environment, aws-kms:KEY[,endpoint=URL]"
            "[,region=REGION] or transit:ADDRESS,key=NAME[,mount=PATH][,token-file=FILE][,ca=FILE]"
        )
    text = environment.get(VARIABLE)
    if setting == "environment" or (setting == "" and text is not None):
        return key_of_variable(environment, VARIABLE)
    file = data / FILE
    return read_key(file) if os.path.lexists(file) else None  # a link to nothing is no invitation to make a key


def key_of_variable(environment: Mapping[str, str], variable: str) -> LocalKey:
    """The key in a variable. Raises MasterKeyUnusable."""
    text = environment.get(variable)
    if text is None:
        raise MasterKeyUnusable(f"the variable {variable} is not set; it is to hold 32 bytes in base64")
    return LocalKey(_decoded(text, f"the variable {variable}"), "environment")


def new_key_of_environment() -> LocalKey:
    """The key that is to follow the one in the environment. Raises MasterKeyUnusable."""
    return key_of_variable(os.environ, NEW_VARIABLE)


def read_key(file: Path) -> LocalKey:
    """The key in a file, which others must have no access to. Raises MasterKeyUnusable."""
    try:
        text, mode = file.read_text("ascii"), stat.S_IMODE(file.stat().st_mode)
    except (OSError, UnicodeDecodeError) as error:
        raise MasterKeyUnusable(
            f"{file} cannot be read: {_reason(error)}; put it back from its backup, with mode 0600"
        ) from None
    key = LocalKey(_decoded(text, str(file)), "file")
    if mode & _OPEN_TO_OTHERS:
        raise MasterKeyUnusable(
            f"{file} has mode {mode:04o}: others may read or change the master key; run chmod 600 {file}. "
            "If anybody may have read it, change it afterwards: pilothouse master-key rotate"
        )
    return key


def _reason(error: OSError | UnicodeDecodeError) -> str:
    """Without what was read: it may be most of a key."""
    return error.strerror or "" if isinstance(error, OSError) else "it does not hold a key in base64"


def missing(data: Path) -> MasterKeyUnusable:
    """The fault of an installation whose key file is gone."""
    return MasterKeyUnusable(
        f"{data / FILE} does not exist; put the installation's own key file back from its backup, or set {VARIABLE}. "
        "No new key was made and nothing was changed."
    )


def _outside(kind: str, rest: str, setting: str, environment: Mapping[str, str]) -> MasterKey:
    from pilothouse.crypto.aws_kms import AwsKmsKey  # botocore is not loaded for installations that need none of it
    from pilothouse.crypto.transit import TransitKey

    first, *words = rest.split(",")
    options: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not value or name in options:
            raise MasterKeyUnusable(f"master_key: {word!r} is not of the form option=value, or is there twice")
        options[name] = value
    known = {"aws-kms": {"endpoint", "region"}, "transit": {"key", "mount", "token-file", "ca"}}[kind]
    if unknown := sorted(set(options) - known):
        raise MasterKeyUnusable(f"master_key: {kind} has no option {unknown[0]!r}; it has {', '.join(sorted(known))}")
    if kind == "aws-kms":
        return AwsKmsKey(setting, first, endpoint=options.get("endpoint"), region=options.get("region"))
    return TransitKey(setting, first, options, environment)


def _decoded(text: str, where: str) -> bytes:
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        raise MasterKeyUnusable(f"{where} does not hold a key in base64; put it back from its backup") from None
    if len(key) != _KEY_BYTES:
        raise MasterKeyUnusable(f"{where} holds {len(key)} bytes; a master key has 32: put it back from its backup")
    return key
