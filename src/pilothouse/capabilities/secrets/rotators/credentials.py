"""Secrets that hold the credential of a database, in the form that rotation functions of the cloud use."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from ssl import SSLCertVerificationError, SSLContext, create_default_context
from typing import Any, Final

import msgspec

from pilothouse.call import House
from pilothouse.capabilities.secrets.passwords import password
from pilothouse.capabilities.secrets.rotators.rotator import StepFailed, Value, Work
from pilothouse.runtime.ids import Ids
from pilothouse.runtime.outbound import OutboundFailed

SECONDS: Final = 10.0
"""For a connection, and for each thing that is asked over it."""
CLONE: Final = "_clone"
_LENGTH: Final = 32
_ALPHABETS: Final = ("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz", "0123456789", "!#*+,-.=_~")
"""Marks that need no quoting in connection strings, shells or SQL."""


@dataclass(frozen=True, slots=True)
class Credential:
    """The members of such a secret."""

    members: Mapping[str, Any] = field(repr=False)
    engine: str
    host: str
    port: int
    username: str
    password: str = field(repr=False)
    dbname: str | None
    tls: bool | None
    """True: with a certificate that is verified; None: where the server offers it; False: never."""

    def with_password(self, new: str, *, username: str | None = None) -> Value:
        """The value of a secret with another password, all other members as they are."""
        changed = {**self.members, "password": new}
        if username is not None:
            changed["username"] = username
        return Value(msgspec.json.encode(changed))


def credential(value: Value | None, engines: Mapping[str, int], whose: str = "the secret") -> Credential:
    """Read a value; `engines` are the names that its engine may have, with their usual ports. Raises StepFailed."""
    if value is None:
        raise StepFailed(f"{whose} has no value", final=True)
    try:
        members = msgspec.json.decode(value.data)
    except msgspec.DecodeError:
        members = None
    if not isinstance(members, dict):
        raise StepFailed(f"the value of {whose} is not a JSON object", final=True)
    missing = [name for name in ("host", "username", "password") if not isinstance(members.get(name), str)]
    if missing:
        raise StepFailed(f"the value of {whose} lacks the text {', '.join(missing)}", final=True)
    engine = members.get("engine", next(iter(engines)))
    if engine not in engines:
        raise StepFailed(f"the engine of {whose} is none of {', '.join(engines)}", final=True)
    try:
        port = int(members.get("port") or engines[engine])
    except (TypeError, ValueError):
        port = 0
    if not 0 < port < 65_536:
        raise StepFailed(f"the port of {whose} is none", final=True)
    tls = members.get("ssl")
    if isinstance(tls, str):
        tls = {"true": True, "false": False}.get(tls.lower())
    return Credential(
        members=members,
        engine=engine,
        host=members["host"],
        port=port,
        username=members["username"],
        password=members["password"],
        dbname=members.get("dbname") if isinstance(members.get("dbname"), str) else None,
        tls=tls if isinstance(tls, bool) else None,
    )


def master_of(work: Work, current: Credential, engines: Mapping[str, int]) -> Credential:
    """The credential of the secret named by `masterarn`, on the same server. Raises StepFailed."""
    if work.master is None:
        raise StepFailed("the secret names no masterarn, or one that was not there when RotateSecret was called; "
                         "put one and call RotateSecret again", final=True)  # fmt: skip
    found = credential(work.master, engines, "the secret of masterarn")
    if (found.host, found.port) != (current.host, current.port):
        raise StepFailed("host and port of the secret of masterarn are others than the secret's own", final=True)
    return found


def other_user(username: str, longest: int) -> str:
    """The other one of the two users that alternate. Raises StepFailed."""
    other = username.removesuffix(CLONE) if username.endswith(CLONE) else username + CLONE
    if not other or len(other.encode()) > longest:
        raise StepFailed(f"the name of the second user, {CLONE} at the end, would be too long", final=True)
    return other


def new_password(ids: Ids) -> str:
    """A password for a database."""
    return password(ids, _LENGTH, _ALPHABETS)


async def address_of(house: House, found: Credential) -> str:
    """The address of the server, which this server may call. Raises StepFailed."""
    try:
        async with asyncio.timeout(SECONDS):
            return (await house.outbound.addresses(found.host, found.port))[0]
    except OutboundFailed as error:
        raise StepFailed(str(error)) from error
    except TimeoutError as error:
        raise StepFailed(f"{found.host} cannot be resolved within {SECONDS:g} s") from error


def context_of(house: House) -> SSLContext:
    """How certificates of databases are verified."""
    context = create_default_context()
    if house.settings.outbound.ca_file:
        context.load_verify_locations(house.settings.outbound.ca_file)
    return context


def not_reached(who: Credential, error: BaseException, kind: str) -> StepFailed:
    """What is told of a connection that did not come about; `kind` is what is known of the error without its text."""
    seen: BaseException | None = error
    while seen is not None:  # drivers wrap what happened
        if isinstance(seen, SSLCertVerificationError):
            return StepFailed(
                f"the certificate of {who.host} is not trusted ({seen.verify_message}): its authority can be named by "
                f"[outbound] ca_file"
            )
        seen = seen.__cause__ or seen.__context__
    return StepFailed(f"cannot connect to {who.host}:{who.port}: {kind}")
