"""The master key: from the environment or a file in the data directory, and the check that it is the right one.

A wrong key is refused before anything is read or written: the database remembers the fingerprint of the key that its
values were sealed under.
"""

import base64
import binascii
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from pilothouse.crypto.vault import Vault
from pilothouse.runtime.files import write_private
from pilothouse.storage import Database

VARIABLE = "PILOTHOUSE_MASTER_KEY"


class MasterKeyUnusable(Exception):
    """The master key is missing, malformed or not the one of this installation; the text says what to do."""


def load_vault(data: Path, *, create: bool, environment: Mapping[str, str] | None = None) -> Vault:
    """The vault of the installation in `data`.

    The environment's key wins over the file `master.key` (32 bytes in base64, mode 0600). With `create`, a missing
    file is made. Raises MasterKeyUnusable.
    """
    text = (os.environ if environment is None else environment).get(VARIABLE)
    file = data / "master.key"
    if text is not None:
        return Vault(_decoded(text, f"the variable {VARIABLE}"))
    if not file.exists():
        if not create:
            raise MasterKeyUnusable(f"{file} does not exist; set {VARIABLE} or put the installation's key file back")
        write_private(file, base64.b64encode(secrets.token_bytes(32)) + b"\n")
    try:
        return Vault(_decoded(file.read_text("ascii"), str(file)))
    except (OSError, UnicodeDecodeError) as error:
        raise MasterKeyUnusable(f"{file} cannot be read: {error}") from error


async def check_installation(database: Database, vault: Vault, now_ms: int) -> None:
    """Compare the key with the one the database was made with; a fresh database remembers this one.

    Raises MasterKeyUnusable, having changed nothing.
    """
    async with database.transaction() as tx:
        await tx.lock("installation")
        known = await tx.value("select key_fingerprint from installation where id = 1")
        if known is None:
            await tx.execute(
                "insert into installation (id, key_fingerprint, created_at) values (1, :fingerprint, :now)",
                fingerprint=vault.fingerprint(),
                now=now_ms,
            )
        elif known != vault.fingerprint():
            raise MasterKeyUnusable(
                "this master key is not the one that the database was sealed under; nothing was changed. "
                f"Put the right master.key into the data directory or set {VARIABLE}."
            )


def _decoded(text: str, where: str) -> bytes:
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError) as error:
        raise MasterKeyUnusable(f"{where} does not hold a key in base64") from error
    if len(key) != 32:
        raise MasterKeyUnusable(f"{where} holds {len(key)} bytes; a master key has 32")
    return key
