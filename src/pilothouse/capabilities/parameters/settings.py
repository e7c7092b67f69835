"""What accounts have set for their parameters, and the names of those settings."""

from typing import Final

from pilothouse.call import Call
from pilothouse.capabilities import service_settings
from pilothouse.storage import Transaction

DEFAULT_TIER: Final = "/ssm/parameter-store/default-parameter-tier"
MAX_VALUE_BYTES: Final = "/ph/parameter-store/max-value-bytes"
MAX_PAGE_SIZE: Final = "/ph/parameter-store/max-page-size"
LARGEST_PAGE: Final = 1000
"""What MAX_PAGE_SIZE can be set to."""
MAX_VERSIONS: Final = "/ph/parameter-store/max-versions"
TRASH_DAYS: Final = "/ph/parameter-store/trash-days"

VERSIONS: Final = 100
"""Versions that are kept at least."""


async def text(tx: Transaction, account_id: str, region: str, setting: str) -> str:
    """A setting's value; its default if the account has not set it."""
    return await service_settings.value(tx, account_id, region, setting)


async def number(tx: Transaction, account_id: str, region: str, setting: str) -> int:
    """A setting that is a whole number."""
    return int(await text(tx, account_id, region, setting))


async def check_page_size(call: Call, tx: Transaction, asked: int | None) -> None:
    """Raises the model's own refusal of a page size beyond AWS's limit, unless the account has allowed it."""
    if call.beyond is not None and (asked or 0) > await number(tx, call.account_id, call.region, MAX_PAGE_SIZE):
        raise call.beyond
