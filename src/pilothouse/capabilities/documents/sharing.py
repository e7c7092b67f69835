"""Sharing documents: ModifyDocumentPermission, DescribeDocumentPermission.

A document is shared with accounts by their numbers, or with `all`. Who may use it names it by its ARN.
"""

from typing import Final

from pilothouse.call import Call, Shape, operation
from pilothouse.capabilities import service_settings
from pilothouse.capabilities.documents.model import DocumentPermissionLimit, InvalidDocument, InvalidNextToken
from pilothouse.capabilities.documents.operations import of_type, resource
from pilothouse.capabilities.documents.share_store import ShareStore
from pilothouse.capabilities.documents.store import EVERYBODY, DocumentStore
from pilothouse.errors import AccessDeniedException
from pilothouse.storage import Transaction
from pilothouse.storage.pages import InvalidPageToken

MOST_GUESTS: Final = 1_000
PAGE: Final = 200
_PUBLIC: Final = "/ssm/documents/console/public-sharing-permission"


@operation("ssm", "ModifyDocumentPermission", writes=True, resources=resource, conditions=of_type)
async def modify_document_permission(call: Call, request: Shape) -> Shape:
    """Share a document, or take it back; where an account is named for both it is taken back."""
    name = request["Name"]
    added, removed = (_guests(request.get(member) or []) for member in ("AccountIdsToAdd", "AccountIdsToRemove"))
    async with call.transaction() as tx:
        store = DocumentStore(tx, call.account_id, call.region)
        await store.lock(name)
        if await store.place(name) is None:
            raise InvalidDocument
        shares = ShareStore(tx, call.account_id, call.region)
        added -= removed
        if EVERYBODY in added:
            await _check_public(call, tx)
        await shares.unshare(name, removed)
        await shares.share(name, added, request.get("SharedDocumentVersion") or "$DEFAULT")
        if len(await shares.guests(name, count=MOST_GUESTS + 1)) > MOST_GUESTS:
            raise DocumentPermissionLimit(f"A document can be shared with at most {MOST_GUESTS} accounts.")
    return {}


def _guests(accounts: list[str]) -> set[str]:
    """Raises DocumentPermissionLimit for all of them together with some."""
    guests = {EVERYBODY if each.lower() == EVERYBODY else each for each in accounts}
    if EVERYBODY in guests and len(guests) > 1:
        raise DocumentPermissionLimit("Accounts can either be all or a group of AWS accounts")
    return guests


async def _check_public(call: Call, tx: Transaction) -> None:
    """Raises AccessDeniedException where the account does not want documents to be public."""
    if await service_settings.value(tx, call.account_id, call.region, _PUBLIC) == "Disable":
        raise AccessDeniedException(f"Documents are not shared with everybody: the service setting {_PUBLIC} says so.")


@operation("ssm", "DescribeDocumentPermission", resources=resource, conditions=of_type)
async def describe_document_permission(call: Call, request: Shape) -> Shape:
    """Whom a document of the account is shared with."""
    name, limit = request["Name"], request.get("MaxResults") or PAGE
    query = ["DescribeDocumentPermission", call.account_id, call.region, name]
    after = ""
    if token := request.get("NextToken"):
        try:
            (after,) = call.house.pages.position(query, token)
        except InvalidPageToken as error:
            raise InvalidNextToken("The specified token is not valid.") from error
    async with call.reading() as tx:
        if await DocumentStore(tx, call.account_id, call.region).place(name) is None:
            raise InvalidDocument
        found = await ShareStore(tx, call.account_id, call.region).guests(name, after=after, count=limit + 1)
    page = list(found.items())[:limit]
    return {
        "AccountIds": [guest for guest, _ in page],
        "AccountSharingInfoList": [
            {"AccountId": guest, "SharedDocumentVersion": version} for guest, version in page
        ],
        "NextToken": call.house.pages.token(query, [page[-1][0]]) if len(found) > limit else None,
    }  # fmt: skip
