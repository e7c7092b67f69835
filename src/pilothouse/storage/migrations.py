"""Finding migration files. Each capability numbers its own; a file is never edited after release."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

_FILE = re.compile(r"(\d{4})_(\w+)\.sql")

MIGRATION_TABLE = """
create table if not exists schema_migration (
  capability text not null,
  number bigint not null,
  name text not null,
  applied_at bigint not null,
  constraint schema_migration_pk primary key (capability, number)
)"""


LAST_MIGRATION = "select max(number) from schema_migration where capability = :capability"


@dataclass(frozen=True, slots=True)
class PackageMigrations:
    """The files in the `migrations` folder of a package."""

    capability: str
    package: str

    def files(self) -> Sequence[tuple[int, str, str]]:
        folder = resources.files(self.package) / "migrations"
        if not folder.is_dir():
            return []
        found = []
        for entry in folder.iterdir():
            if match := _FILE.fullmatch(entry.name):
                found.append((int(match[1]), match[2], entry.read_text("utf-8")))
        return sorted(found)
