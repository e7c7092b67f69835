"""The tables inventory_entry, inventory_attribute and inventory_holding: distinct entries, and who has them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from pilothouse.capabilities.inventory.model import Entry, Shared, cut, is_indexed
from pilothouse.storage import Transaction

_MANY: Final = 500
_LAST: Final = "\U0010ffff"

_read = msgspec.json.Decoder(dict[str, str]).decode


class IndexStore:
    """The index of one type in one account and region."""

    def __init__(self, tx: Transaction, kind_id: int, type_name: str) -> None:
        self._tx = tx
        self._kind_id = kind_id
        self._type_name = type_name

    async def ids(self, digests: Iterable[bytes]) -> dict[bytes, int]:
        """Digest to the entry's id, of those that are there."""
        wanted = sorted(set(digests))
        found: dict[bytes, int] = {}
        for start in range(0, len(wanted), _MANY):
            rows = await self._tx.tuples(
                "select digest, entry_id from inventory_entry where kind_id = :kind_id and digest in (:digests)",
                kind_id=self._kind_id, digests=wanted[start : start + _MANY],
            )  # fmt: skip
            found.update({bytes(row[0]): row[1] for row in rows})
        return found

    async def add(self, node_id: str, entries: Sequence[Shared]) -> None:
        """The node has these now."""
        if not entries:
            return
        by_digest = {each.digest: each for each in entries}
        found = await self._used(by_digest)
        await self._tx.fill(
            "inventory_holding", ("entry_id", "node_id", "moment"),
            [(found[each.digest], node_id, each.moment) for each in entries],
        )  # fmt: skip

    async def remove(self, node_id: str, entries: Iterable[Shared]) -> None:
        """The node has these no more."""
        entries = list(entries)
        found = await self.ids(each.digest for each in entries)
        await self._tx.many(
            "delete from inventory_holding where entry_id = :entry_id and node_id = :node_id and moment = :moment",
            [
                {"entry_id": found[each.digest], "node_id": node_id, "moment": each.moment}
                for each in entries
                if each.digest in found
            ],
        )

    async def _used(self, entries: Mapping[bytes, Shared]) -> dict[bytes, int]:
        """Ids of the entries, which are there then and stay: one that nobody had is said to be used first, so that who
        removes what is unused does not."""
        wanted = sorted(entries)
        for start in range(0, len(wanted), _MANY):
            await self._tx.execute(
                "update inventory_entry set unused_since = null"
                " where kind_id = :kind_id and digest in (:digests) and unused_since is not null",
                kind_id=self._kind_id, digests=wanted[start : start + _MANY],
            )  # fmt: skip
        found = await self.ids(wanted)
        missing = [entries[digest] for digest in wanted if digest not in found]
        if not missing:
            return found
        await self._tx.many(
            "insert into inventory_entry (kind_id, digest, content) values (:kind_id, :digest, :content)"
            " on conflict (kind_id, digest) do nothing",
            [{"kind_id": self._kind_id, "digest": each.digest, "content": each.content} for each in missing],
        )
        made = await self.ids(each.digest for each in missing)
        await self._tx.many(
            "insert into inventory_attribute (kind_id, attribute, value, entry_id)"
            " values (:kind_id, :attribute, :value, :entry_id)"
            " on conflict (kind_id, attribute, value, entry_id) do nothing",
            [
                {"kind_id": self._kind_id, "attribute": name, "value": cut(value), "entry_id": made[each.digest]}
                for each in missing
                for name, value in sorted(_read(each.content).items())
                if is_indexed(self._type_name, name)
            ],
        )
        return found | made

    async def entries_after(self, after: int, limit: int) -> list[tuple[int, Entry]]:
        """The next entries by id, whoever has them."""
        rows = await self._tx.tuples(
            "select entry_id, content from inventory_entry where kind_id = :kind_id and entry_id > :after"
            " order by entry_id limit :limit",
            kind_id=self._kind_id, after=after, limit=limit,
        )  # fmt: skip
        return [(row[0], _read(row[1])) for row in rows]

    async def entries_with(
        self, attribute: str, how: str, values: Sequence[str], after: int, limit: int
    ) -> list[tuple[int, Entry]]:
        """The next entries by id whose attribute equals (Equal) or begins with (BeginWith) one of the values, as far
        as the index knows them: look at what comes."""
        tests, bound = [], dict[str, Any]()
        for place, value in enumerate(values):
            one = f"v{place}_"
            if how == "Equal":
                tests.append(f"value = :{one}")
                bound[one] = cut(value)
            else:
                tests.append(f"(value >= :{one} and value < :{one}end)")
                bound |= {one: cut(value), f"{one}end": cut(value) + _LAST}
        rows = await self._tx.tuples(
            "select entry_id, content from inventory_entry where entry_id > :after and entry_id in"  # noqa: S608
            " (select entry_id from inventory_attribute where kind_id = :kind_id and attribute = :attribute"
            f" and ({' or '.join(tests)})) order by entry_id limit :limit",
            kind_id=self._kind_id, attribute=attribute, after=after, limit=limit, **bound,
        )  # fmt: skip
        return [(row[0], _read(row[1])) for row in rows]

    async def holders(self, entry_ids: Sequence[int]) -> set[str]:
        """Ids of the nodes that have one of the entries."""
        rows = await self._tx.tuples(
            "select distinct node_id from inventory_holding where entry_id in (:ids)", ids=list(entry_ids)
        )
        return {row[0] for row in rows}

    async def holdings(self, entry_ids: Sequence[int]) -> list[tuple[int, str, str]]:
        """(entry id, node id, moment) of those who have one of the entries."""
        rows = await self._tx.tuples(
            "select entry_id, node_id, moment from inventory_holding where entry_id in (:ids)", ids=list(entry_ids)
        )
        return [(row[0], row[1], row[2]) for row in rows]

    async def values_after(self, attribute: str, after: str | None, limit: int) -> list[str]:
        """The next values of an attribute that nodes have, in order."""
        beyond = "" if after is None else " and value > :after"
        rows = await self._tx.tuples(
            "select distinct value from inventory_attribute"  # noqa: S608
            f" where kind_id = :kind_id and attribute = :attribute{beyond} order by value limit :limit",
            kind_id=self._kind_id, attribute=attribute, limit=limit, **({} if after is None else {"after": after}),
        )  # fmt: skip
        return [row[0] for row in rows]

    async def nodes_by_value(self, attribute: str, values: Sequence[str]) -> list[tuple[str, int]]:
        """(value, nodes that have an entry with it) of these values."""
        rows = await self._tx.tuples(
            "select value, count(distinct node_id) from inventory_attribute"
            " join inventory_holding on inventory_holding.entry_id = inventory_attribute.entry_id"
            " where kind_id = :kind_id and attribute = :attribute and value in (:values)"
            " group by value order by value",
            kind_id=self._kind_id, attribute=attribute, values=list(values),
        )  # fmt: skip
        return [(row[0], row[1]) for row in rows]


class Sweep:
    """Removing entries that nobody has: noticed first, removed an hour later if nobody has them still."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    async def notice(self, after: int, limit: int, now: int) -> int | None:
        """Mark the unused among the next entries by id; the id to go on after, None at the end."""
        rows = await self._tx.tuples(
            "select entry_id, unused_since from inventory_entry where entry_id > :after order by entry_id limit :limit",
            after=after, limit=limit,
        )  # fmt: skip
        if not rows:
            return None
        await self._tx.execute(
            """update inventory_entry set unused_since = :now
               where entry_id > :after and entry_id <= :last and unused_since is null
                 and not exists (select 1 from inventory_holding
                                 where inventory_holding.entry_id = inventory_entry.entry_id)""",
            now=now, after=after, last=rows[-1][0],
        )  # fmt: skip
        return int(rows[-1][0])

    async def remove(self, before: int, limit: int) -> int:
        """Remove entries that were unused before a moment; how many."""
        rows = await self._tx.tuples(
            """select entry_id from inventory_entry where unused_since is not null and unused_since < :before
               order by entry_id limit :limit""",
            before=before, limit=limit,
        )  # fmt: skip
        ids = [row[0] for row in rows]
        for start in range(0, len(ids), _MANY):
            some = ids[start : start + _MANY]
            await self._tx.execute(
                """delete from inventory_entry where entry_id in (:ids) and unused_since is not null
                     and not exists (select 1 from inventory_holding
                                     where inventory_holding.entry_id = inventory_entry.entry_id)""",
                ids=some,
            )
            await self._tx.execute(
                """delete from inventory_attribute where entry_id in (:ids)
                     and not exists (select 1 from inventory_entry
                                     where inventory_entry.entry_id = inventory_attribute.entry_id)""",
                ids=some,
            )
            await self._tx.execute("update inventory_entry set unused_since = null where entry_id in (:ids)", ids=some)
        return len(ids)
