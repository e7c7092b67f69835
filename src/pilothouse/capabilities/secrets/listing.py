"""ListSecrets, BatchGetSecretValue."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities.secrets import filters
from pilothouse.capabilities.secrets.conditions import of_read
from pilothouse.capabilities.secrets.describing import described
from pilothouse.capabilities.secrets.finding import MARKED_ALREADY, check_key, found
from pilothouse.capabilities.secrets.model import (
    InvalidNextTokenException,
    InvalidParameterException,
    InvalidRequestException,
    Reading,
    Secret,
)
from pilothouse.capabilities.secrets.sealing import unseal
from pilothouse.capabilities.secrets.settling import all_settled
from pilothouse.capabilities.secrets.store import SecretStore
from pilothouse.capabilities.secrets.values import choose, note_read, record_read, told_value
from pilothouse.errors import ApiError, InternalServerError
from pilothouse.identity.authorise import ask_each
from pilothouse.storage import Transaction
from pilothouse.storage.pages import InvalidPageToken

_PAGE: Final = 100
_BATCH: Final = 20
_LOOKED_AT: Final = 500
"""Secrets that are read at once where filters leave some out."""
_SORTS: Final = {
    "created-date": "created",
    "last-changed-date": "changed",
    "last-accessed-date": "accessed",
    "name": "name",
}


@operation("secretsmanager", "ListSecrets")
async def list_secrets(call: Call, request: Shape) -> Shape:
    """The account's secrets that fit all filters, the oldest first unless another order is asked for."""
    limit = request.get("MaxResults") or _PAGE
    asked = _filters(request)
    by = _SORTS[request.get("SortBy") or "created-date"]
    descending = request.get("SortOrder") == "desc"
    planned_too = request.get("IncludePlannedDeletion") or False
    query: list[Any] = ["ListSecrets", call.account_id, call.region, [list(each.values) for each in asked],
                        [each.key for each in asked], by, descending, planned_too]  # fmt: skip
    async with call.reading() as tx:
        page, token = await _page(call, tx, query, asked, request.get("NextToken"), limit)
        store = SecretStore(tx, call.account_id, call.region)
        names = [each.name for each in page]
        stages, tags = await store.stages_of(names), await store.tags_of(names)
    return {
        "SecretList": [described(each, stages[each.name], tags[each.name], "SecretVersionsToStages") for each in page],
        "NextToken": token,
    }


def _filters(request: Shape) -> tuple[filters.Filter, ...]:
    return filters.checked((each.get("Key"), each.get("Values")) for each in request.get("Filters") or ())


async def _page(
    call: Call, tx: Transaction, query: list[Any], asked: Sequence[filters.Filter], token: str | None, limit: int
) -> tuple[list[Secret], str | None]:
    """A page of the query, whose last three parts say order and extent, and the token of the next one."""
    by, descending, planned_too = query[-3:]
    after: tuple[int | str, str] | None = None
    if token:
        try:
            value, name = call.house.pages.position(query, token)
        except InvalidPageToken as error:
            raise InvalidNextTokenException("The NextToken is not valid for this request.") from error
        after = value, name
    store = SecretStore(tx, call.account_id, call.region)
    page: list[Secret] = []
    while True:
        count = _LOOKED_AT if asked else limit + 1
        batch = await store.secrets(by, descending=descending, after=after, planned_too=planned_too, count=count)
        tags: Mapping[str, Mapping[str, str]] = {}
        if filters.need_tags(asked):
            tags = await store.tags_of([each.name for each in batch])
        page += [each for each in batch if filters.matches(asked, each, tags.get(each.name, {}))]
        if len(batch) < count or len(page) > limit:
            break
        after = _place(by, batch[-1])
    if len(page) <= limit:
        return page, None
    return page[:limit], call.house.pages.token(query, list(_place(by, page[limit - 1])))


def _place(by: str, secret: Secret) -> tuple[int | str, str]:
    if by == "name":
        return "", secret.name
    times = {"created": secret.created_at, "changed": secret.changed_at, "accessed": secret.accessed_on or 0}
    return times[by], secret.name


@operation("secretsmanager", "BatchGetSecretValue", audited=True)
async def batch_get_secret_value(call: Call, request: Shape) -> Shape:
    """The current values of several secrets. One that cannot be had is told of among the errors."""
    ids, given = request.get("SecretIdList"), request.get("Filters")
    if bool(ids) is bool(given):
        raise InvalidParameterException("Either 'SecretIdList' or 'Filters' must be provided, but not both.")
    if request.get("MaxResults") is not None and not given:
        raise InvalidParameterException(
            "'Filters' not specified. 'Filters' must also be specified when 'MaxResults' is provided."
        )
    token = None
    values: list[Shape] = []
    errors: list[Shape] = []
    read: list[Reading] = []
    await all_settled(call)
    async with call.reading() as tx:
        if given:
            await ask_each(call, tx, "secretsmanager:ListSecrets", ["*"])
            asked = _filters(request)
            query: list[Any] = ["BatchGetSecretValue", call.account_id, call.region,
                                [list(each.values) for each in asked], [each.key for each in asked],
                                "created", False, False]  # fmt: skip
            limit = request.get("MaxResults") or _BATCH
            page, token = await _page(call, tx, query, asked, request.get("NextToken"), limit)
            store = SecretStore(tx, call.account_id, call.region)
            for each in page:
                await choose(store, each.name)  # one without a value fails all
            ids = [each.arn for each in page]
        for secret_id in ids or ():
            try:
                reading, value = await _one(call, tx, secret_id)
            except InternalServerError:
                raise
            except ApiError as error:
                errors.append({"SecretId": secret_id, "ErrorCode": error.code, "Message": error.message})
                await record_read(call, secret_id, None, error)
                continue
            await record_read(call, secret_id, reading, None)
            values.append(told_value(reading, value))
            read.append(reading)
    for reading in read:
        await note_read(call, reading, reading)
    return {"SecretValues": values, "NextToken": token, "Errors": errors}


async def _one(call: Call, tx: Transaction, secret_id: str) -> tuple[Reading, bytes]:
    store, secret = await found(call, tx, secret_id, "GetSecretValue")
    await ask_each(call, tx, "secretsmanager:GetSecretValue", [secret.arn], of_read(call, {"SecretId": secret_id}))
    if secret.purge_at is not None:
        raise InvalidRequestException(MARKED_ALREADY)
    check_key(call, secret)
    reading = await choose(store, secret.name)
    return reading, await unseal(call, tx, reading, reading)
