"""STS."""

from pilothouse.call import Call, Caller, Shape, operation


@operation("sts", "GetCallerIdentity", callers=Caller.ACCOUNT | Caller.NODE, free=True)
async def get_caller_identity(call: Call, request: Shape) -> Shape:
    """Who the credentials belong to. Needs no permission."""
    return {"UserId": call.principal.user_id, "Account": call.account_id, "Arn": call.principal.arn}
