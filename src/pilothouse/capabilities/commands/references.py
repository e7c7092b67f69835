"""References to stored parameters (`{{ssm:name}}`): nodes fetch the values, here it is only seen that they can."""

from collections.abc import Iterable

from pilothouse.call import Call
from pilothouse.capabilities import parameters
from pilothouse.capabilities.documents import InvalidParameters
from pilothouse.storage import Transaction

_PLAIN = frozenset({"String", "StringList"})


async def check_references(call: Call, tx: Transaction, references: Iterable[str]) -> None:
    """Raises InvalidParameters for a reference to no parameter, or to one that is encrypted."""
    for reference in sorted(references):
        kind = await parameters.kind_of(tx, call.account_id, call.region, reference)
        if kind is None:
            raise InvalidParameters(f"There is no parameter {reference}.")
        if kind not in _PLAIN:
            raise InvalidParameters(f"The parameter {reference} is a {kind}; only String and StringList can be used.")
