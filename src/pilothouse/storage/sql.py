"""SQL text between the portable subset and an engine: list expansion, numbered parameters, column types."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

_PARAMETER = re.compile(r"(?<![:\w]):([a-z_][a-z0-9_]*)")
_DDL = re.compile(r"^\s*(create\s+table|alter\s+table)", re.IGNORECASE)
_TEXT = re.compile(r"\btext\b", re.IGNORECASE)
_COUNTED = re.compile(r"\binteger\s+primary\s+key\s+autoincrement\b", re.IGNORECASE)
SCALARS = frozenset({str, int, bytes, type(None), float, bool})
"""Types of values that are no lists."""
_BLOB = re.compile(r"\bblob\b", re.IGNORECASE)


def expand(sql: str, values: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Spread list values over numbered parameters: `in (:names)` becomes `in (:names_0, :names_1)`.

    An empty list becomes `null`, which no row equals.
    """
    if SCALARS.issuperset(map(type, values.values())):
        return sql, values
    lists = {name: value for name, value in values.items() if isinstance(value, list | tuple)}
    flat = {name: value for name, value in values.items() if name not in lists}
    for name, items in lists.items():
        flat.update({f"{name}_{index}": item for index, item in enumerate(items)})
    return _spread(sql, tuple((name, len(items)) for name, items in lists.items())), flat


@lru_cache(maxsize=1024)
def _spread(sql: str, counts: tuple[tuple[str, int], ...]) -> str:
    sizes = dict(counts)

    def put(match: re.Match[str]) -> str:
        name = match[1]
        if name not in sizes:
            return match[0]
        return ", ".join(f":{name}_{index}" for index in range(sizes[name])) or "null"

    return _PARAMETER.sub(put, sql)


def placed(sql: str, values: Mapping[str, Any]) -> tuple[str, list[Any]]:
    """As `expand`, with `$n` and the values in the order of their numbers: engines take them without a look at names,
    which with a thousand ids costs more than the statement."""
    lists = [(name, len(value)) for name, value in values.items() if isinstance(value, list | tuple)]
    text, order = _numbered_lists(sql, tuple(lists))
    bound: list[Any] = []
    for name, is_list in order:
        if is_list:
            bound += values[name]
        else:
            bound.append(values[name])
    return text, bound


@lru_cache(maxsize=1024)
def _numbered_lists(sql: str, counts: tuple[tuple[str, int], ...]) -> tuple[str, tuple[tuple[str, bool], ...]]:
    """The text with `$n`, and in the order of the numbers each name with whether it is a list."""
    sizes = dict(counts)
    first: dict[str, int] = {}
    given = 0

    def put(match: re.Match[str]) -> str:
        nonlocal given
        name = match[1]
        if name not in first:
            first[name] = given + 1
            given += sizes.get(name, 1)
        start = first[name]
        return ", ".join(f"${number}" for number in range(start, start + sizes.get(name, 1))) or "null"

    return _PARAMETER.sub(put, sql), tuple((name, name in sizes) for name in first)


@lru_cache(maxsize=2048)
def numbered(sql: str) -> tuple[str, tuple[str, ...]]:
    """`:name` parameters as PostgreSQL's `$n`, and the names in the order of their numbers."""
    order: dict[str, int] = {}

    def put(match: re.Match[str]) -> str:
        return f"${order.setdefault(match[1], len(order) + 1)}"

    return _PARAMETER.sub(put, sql), tuple(order)


@lru_cache(maxsize=64)
def filling(table: str, columns: tuple[str, ...], rows: int) -> str:
    """The statement that adds so many rows, its values by their places: names are looked for one by one."""
    one = f"({', '.join('?' * len(columns))})"
    return f"insert into {table} ({', '.join(columns)}) values {', '.join([one] * rows)}"  # noqa: S608 - constants


@lru_cache(maxsize=1024)
def joined(statements: tuple[str, ...]) -> tuple[str, tuple[tuple[int, str], ...]]:
    """Statements that change rows as one, with `$n`; and for each number the statement's place and the name there."""
    order: dict[tuple[int, str], int] = {}

    def text(place: int) -> str:
        return _PARAMETER.sub(
            lambda found: f"${order.setdefault((place, found[1]), len(order) + 1)}", statements[place]
        )

    texts = [text(place) for place in range(len(statements))]
    others = ", ".join(f"also_{place} as ({each})" for place, each in enumerate(texts[:-1]))
    return f"with {others} {texts[-1]}" if others else texts[-1], tuple(order)


def arguments(order: tuple[str, ...], values: Mapping[str, Any]) -> list[Any]:
    """The values in the order of `numbered`; a missing one is a KeyError, as it is a bug of the store."""
    return [values[name] for name in order]


def postgresql_ddl(script: str) -> list[str]:
    """The statements of a migration for PostgreSQL: bytewise text order as on SQLite, and its name for blobs."""
    statements = []
    for statement in split_statements(script):
        if _DDL.match(statement):
            statement = _BLOB.sub("bytea", _TEXT.sub('text collate "C"', statement))
            statement = _COUNTED.sub("bigint generated by default as identity primary key", statement)
        statements.append(statement)
    return statements


def split_statements(script: str) -> list[str]:
    """The statements of a migration file; comments go, a statement ends with a semicolon at the end of a line."""
    lines = [re.sub(r"--.*$", "", line).rstrip() for line in script.splitlines()]
    statements = [statement.strip() for statement in re.split(r";[ \t]*(?:\n|$)", "\n".join(lines))]
    return [statement for statement in statements if statement]
