"""Choosing the engine by URL: `sqlite:///path` or `postgresql://...`."""

from pathlib import Path

from pilothouse.storage import Database, StorageUnavailable
from pilothouse.storage.sqlite import open_sqlite


async def open_database(url: str, *, processes: int = 1) -> Database:
    """Open the database of the URL on the running event loop; so many processes of this server share what it may take
    of the database's connections. Raises StorageUnavailable.
    """
    scheme, _, rest = url.partition("://")
    if scheme == "sqlite" and rest.startswith("/"):
        return open_sqlite(Path(rest[1:] if rest.startswith("//") else rest))
    if scheme in {"postgresql", "postgres"}:
        from pilothouse.storage.postgresql import open_postgresql  # its driver takes 3 MiB

        return await open_postgresql(url, processes=processes)
    raise StorageUnavailable(f"no engine for the database URL scheme {scheme!r}; use sqlite:///path or postgresql://")
