"""STS: who one is, and what one can ask without a role."""

from typing import Final

from pilothouse.call import Call, Caller, Shape, operation
from pilothouse.capabilities.access.model import InvalidAuthorizationMessageException
from pilothouse.capabilities.access.second_factor import prove
from pilothouse.capabilities.access.sessions import HOUR, ends_at, refuse_not_yet, told_credentials
from pilothouse.capabilities.access.store import AccessStore
from pilothouse.errors import AccessDeniedException, ValidationException
from pilothouse.identity.session_tokens import mint_for_key

_TWELVE_HOURS: Final = 43_200


@operation("sts", "GetCallerIdentity", callers=Caller.ACCOUNT | Caller.NODE, free=True)
async def get_caller_identity(call: Call, request: Shape) -> Shape:
    """Who the credentials belong to. Needs no permission."""
    return {"UserId": call.principal.user_id, "Account": call.account_id, "Arn": call.principal.arn}


@operation("sts", "GetSessionToken", free=True, audited=True)
async def get_session_token(call: Call, request: Shape) -> Shape:
    """Credentials that end by themselves, and with the key that they were made by. Root's last an hour at most."""
    refuse_not_yet(request, ("MinimumSessionTokenSize",))
    if call.principal.kind == "session" or call.principal.issued_at:
        raise AccessDeniedException("Cannot call GetSessionToken with session credentials")
    await prove(call, request)
    seconds = request.get("DurationSeconds", _TWELVE_HOURS)
    if call.principal.kind == "root":
        seconds = min(seconds, HOUR)
    expires_at = ends_at(call, seconds)
    minted = mint_for_key(call.house, call.principal, expires_at=expires_at)
    return {"Credentials": told_credentials(minted, expires_at)}


@operation("sts", "GetAccessKeyInfo")
async def get_access_key_info(call: Call, request: Shape) -> Shape:
    """The account of a key, whosever it is; of temporary ones only that of the caller is known."""
    asked = request["AccessKeyId"]
    if asked == call.principal.access_key_id:
        return {"Account": call.account_id}
    async with call.reading() as tx:
        row = await AccessStore(tx).key(asked)
    if row is None:
        raise ValidationException(f"The access key {asked} is not known.")
    return {"Account": row["account_id"]}


@operation("sts", "DecodeAuthorizationMessage")
async def decode_authorization_message(call: Call, request: Shape) -> Shape:
    """No refusal of this server is encoded, so no message is one of ours."""
    raise InvalidAuthorizationMessageException("The message is not one that this server encoded.")
