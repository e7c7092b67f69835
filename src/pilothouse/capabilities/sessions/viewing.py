"""Who looks at a session of somebody else: known by the credentials with which the token was asked for, and asked
again while they look."""

from collections.abc import Awaitable, Callable
from typing import Final, Literal

import msgspec

from pilothouse.call import Call, House
from pilothouse.capabilities.sessions.model import Session
from pilothouse.errors import ApiError
from pilothouse.identity.authorise import ask_any
from pilothouse.identity.credentials import Credential

ACTIONS: Final = {"watch": "pilothouse:WatchSession", "join": "pilothouse:JoinSession"}
FindCredential = Callable[[str, str | None], Awaitable[Credential]]
"""(access key id, session token) to the credential as it is now. Raises ApiError where it holds no more."""


class Viewer(msgspec.Struct, array_like=True):
    """Their credentials, and where their call came from."""

    mode: Literal["watch", "join"]
    arn: str
    user_id: str
    username: str
    access_key_id: str
    session_token: str | None
    source_ip: str
    user_agent: str
    secure: bool

    def __repr__(self) -> str:
        return f"Viewer({self.mode!r}, {self.arn!r})"


encode: Final = msgspec.msgpack.Encoder().encode
decode: Final = msgspec.msgpack.Decoder(Viewer).decode


def viewer_of(call: Call, mode: Literal["watch", "join"]) -> Viewer:
    """Who asks for the token."""
    who = call.principal
    return Viewer(
        mode=mode,
        arn=who.arn,
        user_id=who.user_id,
        username="root" if who.kind == "root" else who.name or who.arn.rpartition("/")[2],
        access_key_id=who.access_key_id,
        session_token=call.headers.get("x-amz-security-token"),
        source_ip=call.source_ip,
        user_agent=call.user_agent,
        secure=call.secure,
    )


async def may_view(house: House, find: FindCredential, viewer: Viewer, session: Session) -> bool:
    """Whether they still may."""
    try:
        credential = await find(viewer.access_key_id, viewer.session_token)
        if credential.principal.account_id != session.account_id:
            return False
        call = Call(
            principal=credential.principal, account_id=session.account_id, region=session.region, request_id="",
            house=house, source_ip=viewer.source_ip, user_agent=viewer.user_agent, secure=viewer.secure,
        )  # fmt: skip
        async with house.database.reading() as tx:
            await ask_any(call, tx, ACTIONS[viewer.mode], session.names)
    except ApiError as error:
        if error.http_status >= 500:
            raise
        return False
    return True
