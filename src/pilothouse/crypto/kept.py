"""Small files of the data directory wrapped by the master key itself: what is needed before the database opens.

While the master key changes a file holds one wrapping for each of the two, so either of them opens it.
"""

import base64
from collections.abc import Sequence
from pathlib import Path

import msgspec

from pilothouse.crypto.master_key import MasterKey, MasterKeyUnusable, WrappingBroken
from pilothouse.runtime.files import write_private

KEPT = {"database.sealed": "database url", "root.sealed": "root-credentials"}
"""File name to what its content is bound to."""


class _Wrapping(msgspec.Struct):
    master: str
    wrapped: str


class _Kept(msgspec.Struct):
    wrappings: list[_Wrapping]


class KeptUnderAnother(MasterKeyUnusable):
    """The file is of another master key."""


class KeptDamaged(MasterKeyUnusable):
    """The file is of this master key and does not open, or is no file."""

    def __init__(self, file: Path, why: str) -> None:
        super().__init__(
            f"{file} {why}; put it back from its backup, or remove it and start the server, which makes another"
        )


async def keep(file: Path, content: bytes, *masters: MasterKey) -> None:
    """Write the file, to be opened by any of the master keys. Raises MasterKeyUnusable."""
    wrappings = [
        _Wrapping(
            master=master.fingerprint, wrapped=base64.b64encode(await master.wrap(content, KEPT[file.name])).decode()
        )
        for master in masters
    ]
    write_private(file, msgspec.json.encode(_Kept(wrappings=wrappings)) + b"\n")


async def kept(file: Path, master: MasterKey) -> bytes:
    """The content. Raises FileNotFoundError, KeptUnderAnother, KeptDamaged, MasterKeyUnusable."""
    try:
        raw = file.read_bytes()  # noqa: ASYNC240 - some hundred bytes, once at a start
    except FileNotFoundError:
        raise
    except OSError as error:
        raise KeptDamaged(file, f"cannot be read: {error.strerror}") from error
    try:
        found = {each.master: each.wrapped for each in msgspec.json.decode(raw, type=_Kept).wrappings}
    except msgspec.DecodeError:
        found = {}
        if raw[:1] == b"\x01":  # sealed straight under the master key, before there was a ring
            try:
                return await master.unwrap(raw, KEPT[file.name])
            except MasterKeyUnusable as error:
                raise KeptUnderAnother(_another(file, master)) from error
    wrapped = found.get(master.fingerprint)
    if wrapped is None:
        raise KeptUnderAnother(_another(file, master))
    try:
        return await master.unwrap(base64.b64decode(wrapped), KEPT[file.name])
    except (WrappingBroken, ValueError) as error:
        raise KeptDamaged(file, "is damaged") from error


def _another(file: Path, master: MasterKey) -> str:
    return (
        f"{file} was not made under this master key, {master.name} (fingerprint {master.fingerprint[:8]}): "
        "put the installation's own key back from its backup, or set master_key"
    )


def kept_under(file: Path) -> set[str]:
    """The fingerprints of the master keys that open the file; none where it is not of this form."""
    try:
        return {each.master for each in msgspec.json.decode(file.read_bytes(), type=_Kept).wrappings}
    except (OSError, msgspec.DecodeError):
        return set()


async def rekeep(data: Path, old: MasterKey, masters: Sequence[MasterKey]) -> None:
    """Write every kept file that `old` opens anew for these master keys. Raises MasterKeyUnusable."""
    for name in KEPT:
        try:
            content = await kept(data / name, old)
        except (FileNotFoundError, KeptUnderAnother):
            continue  # the server makes it again
        await keep(data / name, content, *masters)
