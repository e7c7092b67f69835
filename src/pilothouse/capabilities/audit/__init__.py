"""Audit: one record for each call that changes something, reads a secret or is refused, in CloudTrail's form.

Owns the tables audit_record, audit_name, audit_waiting, audit_key, audit_chain, audit_sink, the file `audit.anchor` and
the folder `audit-journal`. Records are chained, looked up with LookupEvents, and delivered to a second sink where one
is set.
"""

from collections.abc import Mapping
from typing import Any

from pilothouse.call import Capability, House, Lasting
from pilothouse.capabilities.audit import channels, operations, sealing, store
from pilothouse.capabilities.audit.model import Record
from pilothouse.capabilities.audit.sealing import keep_sealed, keep_taken_up, trail_of
from pilothouse.capabilities.audit.sinks import line_of
from pilothouse.capabilities.audit.trail import SEALED, Recording, kept_key, key_of, opened_trail, operator_acted
from pilothouse.capabilities.audit.verifying import Report, verify
from pilothouse.storage import Transaction

__all__ = [
    "CAPABILITY",
    "Record",
    "Recording",
    "Report",
    "exported",
    "kept_key",
    "key_of",
    "line_of",
    "opened_trail",
    "operator_acted",
    "verify",
]


async def _deliver(house: House) -> None:
    delivery = trail_of(house).delivery
    if delivery is not None:
        await delivery.run()


async def _ended(house: House, tx: Transaction, facts: Mapping[str, Any]) -> None:
    """Others may deliver at once in place of a process that is gone."""
    await store.release(tx, facts["process_id"])


async def exported(tx: Transaction, after: int, limit: int) -> list[Record]:
    """Records of the chain in its order, of every account."""
    return await store.linked(tx, after, limit)


CAPABILITY = Capability.of(
    "audit",
    operations,
    sealing,
    sealed=(SEALED,),
    listeners={"process.ended": _ended, "channel.told": channels.told},
    lasting=(
        Lasting(name="audit.take_up", run=keep_taken_up, local=True),
        Lasting(name="audit.seal", run=keep_sealed, local=True),
        Lasting(name="audit.deliver", run=_deliver, local=True),
    ),
)
