"""Whether the change calendars that an association names let it run."""

from pilothouse.capabilities import documents
from pilothouse.capabilities.associations.model import Association
from pilothouse.storage import Transaction


async def closed(tx: Transaction, association: Association, now: int) -> str | None:
    """The first calendar that is closed now, or that is not there any more; None if all are open."""
    for name in association.terms.calendars:
        try:
            calendar = await documents.calendar(tx, association.account_id, association.region, name)
        except documents.InvalidDocument:
            return name
        if not calendar.is_open(now):
            return name
    return None
