"""What a call is about: the ARNs that policies are asked about and the trail shows."""

from collections.abc import Iterator
from inspect import isawaitable

from pilothouse.call import Call, Operation, Shape
from pilothouse.errors import ApiError


def resources_of(asked: list[str], answered: list[str]) -> list[str]:
    """What was asked about, by the ARN of the answer where that says more (a new secret's has six letters more)."""
    longer = [each for each in answered if any(each.startswith(one) for one in asked)]
    return [each for each in asked if not any(one.startswith(each) for one in longer)] + longer if asked else answered


async def about(call: Call, operation: Operation, request: Shape | None) -> list[str]:
    """The ARNs that policies are asked about; of a secret that is not there, without the end that it never got, and of
    a log group without the stream that has no name."""
    if operation.resources is None or request is None:
        return []
    try:
        given = operation.resources(call, request)
        found = [
            each.removesuffix("-??????").removesuffix(":log-stream:")
            for each in (await given if isawaitable(given) else given)
        ]
        return [each for each in found if "*" not in each]
    except ApiError:  # it is not there, or its name is malformed
        return []


_ARNS = frozenset({"ARN", "Arn", "KeyId", "PolicyArn", "RoleArn", "SourceKeyId"})


def arns_in(answer: Shape) -> Iterator[str]:
    """Those that an answer names itself: of what was made, of the key that was used."""
    for name, value in answer.items():
        if isinstance(value, str) and value.startswith("arn:") and name in _ARNS:
            yield value
        elif isinstance(value, dict):
            yield from arns_in(value)
