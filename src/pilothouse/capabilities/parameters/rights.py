"""What the operations of our own service ask besides: what they do to parameters, policies of ssm speak of as well.

So a deny of `ssm:PutParameter` holds, whichever way a parameter is written.
"""

from pilothouse.call import Call
from pilothouse.capabilities.parameters.names import arn
from pilothouse.identity.authorise import ask_each
from pilothouse.storage import Transaction


async def ask_put(call: Call, tx: Transaction, path: str, *, overwrite: bool) -> None:
    """Raises AccessDeniedException for who may not write the parameter."""
    context = {"ssm:Overwrite": "true" if overwrite else "false"}
    await ask_each(call, tx, "ssm:PutParameter", [arn(call.account_id, call.region, path)], context)


async def ask_delete(call: Call, tx: Transaction, path: str) -> None:
    """Raises AccessDeniedException for who may not delete the parameter."""
    await ask_each(call, tx, "ssm:DeleteParameter", [arn(call.account_id, call.region, path)])
