"""ReadParameters: many parameters with everything that hangs on them in one answer, for exports and comparisons.

What GetParameterHistory and ListTagsForResource answer for one name after another; policies are asked about
`ssm:GetParameterHistory` on each name.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities import tags
from pilothouse.capabilities.parameters.changes import TAGGED_AS
from pilothouse.capabilities.parameters.model import Version
from pilothouse.capabilities.parameters.names import plain_name, resource
from pilothouse.capabilities.parameters.operations import metadata_shape, policies_shape
from pilothouse.capabilities.parameters.sealing import Opener
from pilothouse.capabilities.parameters.secrecy import reads_secrets
from pilothouse.capabilities.parameters.store import ParameterStore

_MOST_BYTES: Final = 4 << 20
"""Of stored values in one answer."""
_VERSIONS: Final = 50
"""Versions of a history that are read at once."""


def _each_named(call: Call, request: Shape) -> Iterable[str]:
    return [resource(call.account_id, call.region, name) for name in request["Names"]]


@operation(
    "pilothouse", "ReadParameters", action="ssm:GetParameterHistory", resources=_each_named, audited=reads_secrets
)
async def read_parameters(call: Call, request: Shape) -> Shape:
    """The newest version of each name, or with WithHistory every version that is kept, with labels and tags.

    Names that are not there come back in InvalidParameters, and those that the answer has no room for in UnreadNames,
    to be asked for again. When the first name that is there is among them, its history needs more than one answer:
    GetParameterHistory gives it. Raises ValidationException for a malformed name, and what a SecureString's key is
    refused for.
    """
    asked = {plain_name(name).path: name for name in request["Names"]}
    found: list[Shape] = []
    unread: list[str] = []
    room = _MOST_BYTES
    async with call.reading() as tx:
        store = ParameterStore(tx, call.account_id, call.region)
        newest = {version.path: version for version in await store.newest_of(asked)}
        labels = await store.labels_of(newest)
        tagged = await tags.of_each(tx, call.account_id, call.region, TAGGED_AS, newest)
        opener = Opener(call, tx, decrypt=request.get("WithDecryption") or False)
        for path, name in asked.items():
            if path not in newest:
                continue
            await call.clock.sleep(0)  # others' requests go on meanwhile
            versions = await _versions(store, newest[path], room, whole=request.get("WithHistory") or False)
            if versions is None:
                unread.append(name)
                continue
            room -= sum(map(_size, versions))
            shapes = [_shape(version, await opener.text(version), labels.get(path, {})) for version in versions]
            tag_list = [{"Key": key, "Value": value} for key, value in tagged.get(path, {}).items()]
            found.append({"Name": newest[path].name, "Versions": shapes, "Tags": tag_list})
    invalid = [name for path, name in asked.items() if path not in newest]
    return {"Parameters": found, "InvalidParameters": invalid, "UnreadNames": unread}


async def _versions(store: ParameterStore, newest: Version, room: int, *, whole: bool) -> list[Version] | None:
    """The versions that are asked for, ascending; None: together they are larger than the room that is left."""
    older: list[Version] = []
    room -= _size(newest)
    while whole and room >= 0 and newest.number > 1:
        batch = await store.older(newest, after=older[-1].number if older else 0, count=_VERSIONS)
        older += batch
        room -= sum(map(_size, batch))
        if len(batch) < _VERSIONS:
            break
    return None if room < 0 else [*older, newest]


def _size(version: Version) -> int:
    return len(version.sealed if version.sealed is not None else version.value or "")


def _shape(version: Version, value: str, labels: Mapping[str, int]) -> Shape:
    """A ParameterHistory of the ssm model."""
    return {
        **metadata_shape(version, version.name),
        "Value": value,
        "Labels": [label for label, number in labels.items() if number == version.number],
        "Policies": policies_shape(version.policies),
    }
