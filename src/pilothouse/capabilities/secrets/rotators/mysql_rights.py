"""What a second user of MySQL or MariaDB gets from the first: its rights, its default roles, and that it wants TLS.

These servers have no transactions for rights, and whoever is killed between two of them must not leave a user that logs
in with only some: it is locked until it has all. Source: the manuals of both, SHOW GRANTS and SET DEFAULT ROLE.
"""

import re
from collections.abc import Sequence
from typing import Any, Final

from pilothouse.capabilities.secrets.rotators.rotator import StepFailed

Account = tuple[str, str]
"""A user, and its pattern of hosts."""
_OPTIONS: Final = {" WITH GRANT OPTION": " with grant option", " WITH ADMIN OPTION": " with admin option"}
_DEFAULT_ROLE: Final = re.compile(r"SET DEFAULT ROLE (.*) FOR .*", re.DOTALL)
"""MariaDB tells it among the grants."""


def rows(cursor: Any, statement: str, *values: str) -> Sequence[Sequence[Any]]:
    """Run a statement; the driver quotes the values."""
    cursor.execute(statement, values)
    found: Sequence[Sequence[Any]] = cursor.fetchall()
    return found


def is_locked(cursor: Any, account: Account) -> bool:
    """Whether nobody gets in as this user."""
    return "ACCOUNT LOCK" in str(rows(cursor, "show create user %s@%s", *account)[0][0]).upper()


def make_locked(cursor: Any, account: Account, like: Account, how: str, known: str) -> None:
    """A user that nobody gets into yet; over TLS alone where that is asked of the one that it is like."""
    wants = rows(cursor, "select ssl_type from mysql.user where user = %s and host = %s", *like)
    # the other types want a certificate of the client's, and no rotator logs in with one
    tls = " require ssl" if wants and _text(wants[0][0]) == "ANY" else ""
    rows(cursor, f"create user %s@%s identified {how}{tls} account lock", *account, known)


def give_rights(cursor: Any, account: Account, other: Account) -> None:
    """The other user gets what SHOW GRANTS tells of the first. Raises StepFailed."""
    default = None
    for (told,) in rows(cursor, "show grants for %s@%s", *account):
        line = _text(told)
        if role := _DEFAULT_ROLE.fullmatch(line):
            default = role[1]
            continue
        rows(cursor, _for_other(line, account), *other)
    if default is not None:
        rows(cursor, f"set default role {_escaped(default)} for %s@%s", *other)
        return
    if not rows(cursor, "show tables from mysql like 'default_roles'"):  # MariaDB, and MySQL before 8
        return
    roles = rows(
        cursor, "select default_role_user, default_role_host from mysql.default_roles where user = %s and host = %s",
        *account,
    )  # fmt: skip
    if roles:
        names = [_text(each) for role in roles for each in role]
        rows(cursor, f"set default role {', '.join(['%s@%s'] * len(roles))} to %s@%s", *names, *other)


def _text(told: Any) -> str:
    return told.decode() if isinstance(told, bytes) else str(told)


def _escaped(text: str) -> str:
    """Text that the driver leaves as it is."""
    return text.replace("%", "%%")


def _for_other(line: str, account: Account) -> str:
    """The statement that a line of SHOW GRANTS is, with a place for another user. Raises StepFailed."""
    verb, _, rest = line.partition(" ")
    link = {"GRANT": "TO", "REVOKE": "FROM"}.get(verb)  # MySQL's partial revokes are lines of their own
    for mark in "`'":
        quoted = "@".join(f"{mark}{each.replace(mark, mark * 2)}{mark}" for each in account)
        privileges, found, after = rest.rpartition(f" {link} {quoted}")
        if link and found:
            option = next((ours for told, ours in _OPTIONS.items() if after.upper().endswith(told)), "")
            return f"{verb.lower()} {_escaped(privileges)} {link.lower()} %s@%s{option}"
    raise StepFailed(
        "the rights of the current user cannot be read: grant them to the second user yourself", final=True
    )
