"""Which group and stream a request means, and by what ARNs policies are asked about them."""

from collections.abc import Mapping

from pilothouse.call import Call, Shape
from pilothouse.capabilities.logs.model import Group, Stream, group_arn, no_group, no_stream
from pilothouse.capabilities.logs.store import LogStore
from pilothouse.errors import InvalidParameterException, ValidationException
from pilothouse.identity.policy_patterns import Value
from pilothouse.storage import Transaction

_NAMELESS = (
    "1 validation error detected: Value null at 'logGroupName' failed to satisfy constraint: Member must not be null"
)


def identifier(request: Shape) -> str:
    """What the request says of its group: a name or an ARN. Raises ValidationException, InvalidParameterException."""
    name, other = request.get("logGroupName"), request.get("logGroupIdentifier")
    if name is not None and other is not None:
        raise ValidationException("LogGroup name and LogGroup ARN are mutually exclusive parameters.")
    if name is None and other is None:
        raise InvalidParameterException(_NAMELESS)
    return str(name if name is not None else other)


def name_of(call: Call, said: str) -> str:
    """The name in an identifier. Raises ResourceNotFoundException for an ARN of another account or region."""
    if not said.startswith("arn:"):
        return said
    own = group_arn(call.account_id, call.region, "")
    if not said.startswith(own):
        raise no_group()
    return said.removeprefix(own).removesuffix(":*")


async def found_group(call: Call, tx: Transaction, said: str) -> Group:
    """The group of a name or an ARN. Raises ResourceNotFoundException."""
    group = await LogStore(tx, call.account_id, call.region).group(name_of(call, said))
    if group is None:
        raise no_group()
    return group


async def found_stream(call: Call, tx: Transaction, group: Group, name: str) -> Stream:
    """Raises ResourceNotFoundException."""
    stream = await LogStore(tx, call.account_id, call.region).stream(group.group_id, name)
    if stream is None:
        raise no_stream()
    return stream


def asked_of(call: Call, said: str, stream: str = "") -> str:
    """The ARN that policies are asked about, for a group as for a stream, as the service does it."""
    whole = said if said.startswith("arn:") else group_arn(call.account_id, call.region, said)
    return f"{whole}:log-stream:{stream}"


def of_group(call: Call, request: Shape) -> list[str]:
    """What policies are asked about: the group."""
    return [asked_of(call, identifier(request))]


def of_stream(call: Call, request: Shape) -> list[str]:
    """What policies are asked about: the stream."""
    return [asked_of(call, identifier(request), request["logStreamName"])]


def of_no_group(call: Call, request: Shape) -> list[str]:
    """What policies are asked about where it is about all groups: one without a name."""
    return [asked_of(call, "")]


def of_arn(call: Call, request: Shape) -> list[str]:
    """What policies are asked about by the operations on tags: the group's ARN as it was given."""
    return [request["resourceArn"].removesuffix(":*")]


def tags_of_request(call: Call, request: Shape) -> Mapping[str, Value]:
    """The condition keys of the tags that a request brings or takes away."""
    said = request.get("tags") or {}
    tags = dict(said) if isinstance(said, Mapping) else {}
    keys = (*tags, *(said if isinstance(said, list) else ()), *(request.get("tagKeys") or ()))
    found: dict[str, Value] = {f"aws:RequestTag/{key}": value for key, value in tags.items()}
    if keys:
        found["aws:TagKeys"] = tuple(keys)
    return found
