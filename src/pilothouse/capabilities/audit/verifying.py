"""Is the trail whole and as it was written: every record, every link, every name, both ends."""

import hmac
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from pilothouse.capabilities.audit import store
from pilothouse.capabilities.audit.model import Chain, Record, link_of, mac_of
from pilothouse.capabilities.audit.recording import LOSS, OWN_SOURCE
from pilothouse.capabilities.audit.sealing import anchored
from pilothouse.capabilities.audit.trail import records_in
from pilothouse.storage import Database, Transaction

_BATCH = 500
_MOST_FAULTS = 100

Progress = Callable[[int], Awaitable[None]]


@dataclass(slots=True)
class Report:
    """What was found."""

    first_seq: int = 1
    last_seq: int = 0
    records: int = 0
    waiting: int = 0
    """Records of the last moments that are not in the chain yet."""
    faults: list[str] = field(default_factory=list)
    """The first ones, in sentences; empty: the trail is as it was written."""

    def fault(self, text: str) -> None:
        """Note one."""
        if len(self.faults) < _MOST_FAULTS:
            self.faults.append(text)


async def verify(database: Database, data: Path, key: bytes, progress: Progress | None = None) -> Report:
    """Walk the trail. A server may write to it meanwhile, which is no fault."""
    report = Report()
    anchor = _anchor(data, key, report)
    async with database.reading() as tx:
        chain = await _chain(tx, key, report)
    if anchor is not None and anchor[0] > chain.last_seq:
        report.fault(
            f"this server had linked record {anchor[0]}, and the trail ends at {chain.last_seq}: an older state of the "
            "database was put back, or the end was cut off"
        )
    report.first_seq, report.last_seq = chain.first_seq, chain.last_seq
    await _walk(database, key, chain, anchor, report, progress)
    async with database.reading() as tx:
        await _check_waiting(tx, key, report)
        await verify_waiting(tx, key, report)
        before = await _chain(tx, key, report)  # the beginning and the end both move on meanwhile, each one way
        outside = await store.outside(tx)
        now = await _chain(tx, key, report)
        if outside is not None and not (before.first_seq <= outside[0] and outside[1] <= now.last_seq):
            report.fault("there are records before the beginning or after the end of the trail")
        for event_id, name in await store.lone_names(tx, 10):
            report.fault(f"the name {name} leads to record {event_id}, which is not there (audit_name)")
    return report


async def _chain(tx: Transaction, key: bytes, report: Report) -> Chain:
    try:
        return await store.chain(tx, key)
    except store.ChainBroken:
        report.fault("the row that says where the trail begins and ends was altered (audit_chain)")
        return await store.unproven_chain(tx)


async def _walk(
    database: Database, key: bytes, chain: Chain, anchor: tuple[int, bytes] | None, report: Report,
    progress: Progress | None,
) -> None:  # fmt: skip
    """Every record of the chain, in order."""
    seq, link = chain.first_seq - 1, chain.first_link
    while seq < chain.last_seq:
        async with database.reading() as tx:
            records = await store.linked(tx, seq, _BATCH)
            names = await store.names(tx, [each.event_id for each in records])
            pruned = await _chain(tx, key, report)  # last: what it says is there was there when its names were read
        if pruned.first_seq > seq + 1:  # meanwhile
            seq, link = pruned.first_seq - 1, pruned.first_link
        records = [each for each in records if seq < (each.seq or 0) <= chain.last_seq]
        if not records:
            break
        looked_at = {each.event_id for each in records}
        _check_names(records, [each for each in names if each[0] in looked_at], report)
        for record in records:
            assert record.seq is not None
            if record.seq != seq + 1:
                report.fault(f"records {seq + 1} to {record.seq - 1} are missing")
            if not hmac.compare_digest(mac_of(key, record), record.mac):
                report.fault(f"record {record.seq} ({record.event_id}) was altered")
            wanted = link_of(key, link, record.seq, record.mac)
            if (record.event_source, record.event_name) == (OWN_SOURCE, LOSS):
                report.fault(f"record {record.seq} says that one which was committed was gone before it was linked")
            if record.seq == seq + 1 and not hmac.compare_digest(wanted, record.link or b""):
                report.fault(f"record {record.seq} ({record.event_id}) is not the one that was linked there")
            if anchor is not None and anchor[0] == record.seq and anchor[1] != record.link:
                report.fault(f"record {record.seq} is not the one that this server linked there")
            seq, link = record.seq, record.link or b""
            report.records += 1
        if progress is not None:
            await progress(len(records))
    if seq < chain.last_seq:
        report.fault(f"records {seq + 1} to {chain.last_seq} are missing")
    elif not hmac.compare_digest(link, chain.last_link):
        report.fault(f"the last record, {seq}, is not the one that was linked there")


async def _check_waiting(tx: Transaction, key: bytes, report: Report) -> None:
    """Records that are not linked yet: each must bear its seal."""
    after = ""
    while records := await store.unlinked(tx, after, _BATCH):
        _check_names(records, await store.names(tx, [each.event_id for each in records]), report)
        for record in records:
            if not hmac.compare_digest(mac_of(key, record), record.mac):
                report.fault(f"record {record.event_id}, which is not linked yet, was altered")
        after = records[-1].event_id
        report.waiting += len(records)


async def verify_waiting(tx: Transaction, key: bytes, report: Report | None = None) -> Report:
    """Records of changes that are not taken up yet: each must bear its seal."""
    report = report or Report()
    place = 0
    while lines := await store.laid(tx, place, _BATCH):
        laid = records_in([line for _, line in lines], "audit_waiting")
        if len(laid) != len(lines) or any(not hmac.compare_digest(mac_of(key, each), each.mac) for each in laid):
            report.fault("a record that waits to be taken up was altered (audit_waiting)")
        place = lines[-1][0]
        report.waiting += len(lines)
    return report


def _check_names(records: Sequence[Record], found: Sequence[tuple[str, str, str, int, str]], report: Report) -> None:
    there = Counter(found)
    by_event: dict[str, list[str]] = {}
    for event_id, _, _, _, name in found:
        by_event.setdefault(event_id, []).append(name)
    for record in records:
        for name in _names(record, by_event.get(record.event_id, ())):
            one = (record.event_id, record.account_id, record.region, record.at, name)
            if not there[one]:
                report.fault(f"record {record.event_id} is no longer found by the name {name} (audit_name)")
            there[one] -= 1
    for (event_id, _, _, _, name), count in there.items():
        if count > 0:
            report.fault(f"record {event_id} is found by the name {name}, which it does not have (audit_name)")


def _names(record: Record, found: Sequence[str]) -> list[str]:
    """The names that lead to the record. Types of resources are among them since they are looked up by a table; those
    of an older record stand in its event alone, and were filled in from its text. `found`: those that do lead there."""
    try:
        names = msgspec.json.decode(record.names, type=list[str])
        if any(name.startswith("/") for name in names):
            return names
        types = {f"/{each.type}" for each in msgspec.json.decode(record.body, type=_Event).resources or ()}
    except msgspec.MsgspecError:  # altered, as its seal shows
        return []
    filled = {name for name in found if name.startswith("/") and f'"type":"{name[1:]}"' in record.body}
    return [*names, *sorted(types | filled)]


class _Resource(msgspec.Struct):
    type: str


class _Event(msgspec.Struct):
    resources: list[_Resource] | None = None


def _anchor(data: Path, key: bytes, report: Report) -> tuple[int, bytes] | None:
    """What the file beside the database knows."""
    try:
        return anchored(data, key)
    except ValueError as error:
        report.fault(str(error))
        return None
