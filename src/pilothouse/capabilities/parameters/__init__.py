"""Parameters: named configuration values and encrypted strings, with history, labels and hierarchies.

Owns the tables parameter, parameter_version and parameter_label. Values of SecureString parameters are stored only as
ciphertext under a key of the account (`capabilities/keys`). Tags hang on a parameter's path.
"""

from pilothouse.call import Capability
from pilothouse.capabilities import tags
from pilothouse.capabilities.parameters import (
    exports,
    imports,
    jobs,
    known,
    labels,
    listings,
    moves,
    operations,
    restores,
    sharing,
    trash,
)
from pilothouse.capabilities.parameters.changes import TAGGED_AS
from pilothouse.capabilities.parameters.model import ParameterNotFound
from pilothouse.capabilities.parameters.model import Value as PublicValue
from pilothouse.capabilities.parameters.names import asked, plain_name
from pilothouse.capabilities.parameters.public import PublicParameter, store_for
from pilothouse.capabilities.parameters.public import listed as listed_public
from pilothouse.capabilities.parameters.public import load as load_public
from pilothouse.capabilities.parameters.public import remove as remove_public
from pilothouse.capabilities.parameters.store import ParameterStore
from pilothouse.capabilities.parameters.values import check_data_type
from pilothouse.errors import ValidationException
from pilothouse.known_values import EVENT
from pilothouse.storage import Transaction

__all__ = [
    "CAPABILITY",
    "PublicParameter",
    "PublicValue",
    "check_data_type",
    "is_name",
    "kind_of",
    "listed_public",
    "load_public",
    "remove_public",
]


def is_name(text: str) -> bool:
    """Whether a text has the form of a parameter's name."""
    try:
        plain_name(text)
    except ValidationException:
        return False
    return True


async def kind_of(tx: Transaction, account_id: str, region: str, reference: str) -> str | None:
    """The type of the parameter that `name` or `name:version` means; None if there is no such parameter or version."""
    try:
        path, _, selector = asked(reference, account_id, region)
    except (ValidationException, ParameterNotFound):
        return None
    store = await store_for(tx, account_id, region, path)
    found = await store.newest_value(path)
    if found is not None and selector is not None and selector != str(found.number):
        if not (selector.isascii() and selector.isdigit() and len(selector) <= 18):
            return None
        found = await store.older_value(path, found.name, int(selector))
    return None if found is None else found.kind


async def _find(tx: Transaction, account_id: str, region: str, resource_id: str) -> str | None:
    """The path that a parameter's tags hang on, found under both spellings of its name."""
    try:
        path = plain_name(resource_id).path
    except ValidationException:
        return None
    return path if await ParameterStore(tx, account_id, region).newest_value(path) else None


async def _at_path(tx: Transaction, account_id: str, region: str, path: str) -> str | None:
    return await _find(tx, account_id, region, f"/{path}")


async def _tags(tx: Transaction, account_id: str, region: str, rest: str) -> dict[str, str]:
    """Of the parameter that an ARN ends with, which has lost its first slash."""
    return await tags.of(tx, account_id, region, TAGGED_AS, plain_name(f"/{rest}").path)


CAPABILITY = Capability.of(
    "parameters",
    operations,
    listings,
    labels,
    jobs,
    exports,
    imports,
    moves,
    restores,
    trash,
    taggable={TAGGED_AS: _find},
    tags_of={"parameter": _tags},
    shareable={"parameter": sharing.find},
    listeners={EVENT: known.give},
    groupable={"AWS::SSM::Parameter": tags.Tagged(TAGGED_AS, "ssm", "parameter/", _at_path)},
)
