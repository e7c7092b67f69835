"""MySQL and MariaDB: one user whose password changes, or two that take turns.

MariaDB gets a hash, never a password; MySQL hides passwords in its logs itself. Texts are quoted by the driver.
"""

import asyncio
import hashlib
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import pymysql
from pymysql.constants import CR, ER

from pilothouse.call import House
from pilothouse.capabilities.secrets.rotators.credentials import (
    SECONDS,
    Credential,
    address_of,
    context_of,
    master_of,
    not_reached,
)
from pilothouse.capabilities.secrets.rotators.database import DatabaseUser, OneUser, Refused, TwoUsers, logged_in
from pilothouse.capabilities.secrets.rotators.rotator import Done, StepFailed, Work

ENGINES: Final = {"mysql": 3306, "mariadb": 3306, "aurora-mysql": 3306}
_REFUSED: Final = frozenset({ER.ACCESS_DENIED_ERROR, ER.HOST_NOT_PRIVILEGED, 1698, 1862, 3118, 4151})
"""The numbers without a name: no password opens it, which MariaDB also says of some users that are not there, not to
tell who is; the password is too old; the account is locked, in MySQL and in MariaDB."""
_LACKING: Final = frozenset(
    {ER.SPECIFIC_ACCESS_DENIED_ERROR, ER.TABLEACCESS_DENIED_ERROR, ER.DBACCESS_DENIED_ERROR, ER.CANNOT_USER, 1410}
)
T = TypeVar("T")


class WithoutTls(StepFailed):
    """The server offers no TLS, or none that can be trusted."""


class Lacking(StepFailed):
    """The user may not do this."""


@contextmanager
def _connected(house: House, who: Credential, address: str) -> Iterator[Any]:
    """A connection as the user. Blocks. Raises StepFailed, Refused, Lacking."""
    try:
        connection = _opened(house, who, address, _context(house, who))
    except StepFailed as failed:
        if who.tls is not None or not isinstance(failed, WithoutTls):
            raise
        connection = _opened(house, who, address, None)
    try:
        yield connection
    except (pymysql.MySQLError, OSError) as error:
        number = error.args[0] if error.args else 0
        if number in _LACKING:
            raise Lacking(f"{who.username} lacks the permission for this on the server", final=True) from error
        raise StepFailed(f"the server refused what was asked of it: {_kind(error)}") from error
    finally:
        connection._force_close()


def _context(house: House, who: Credential) -> ssl.SSLContext | None:
    if who.tls is False:
        return None
    if who.tls:
        return context_of(house)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # nothing is proved where nothing is demanded
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _opened(house: House, who: Credential, address: str, context: ssl.SSLContext | None) -> Any:
    """Raises StepFailed, Refused, WithoutTls."""
    connection = pymysql.Connection(
        host=who.host, port=who.port, user=who.username, password=who.password, database=who.dbname,
        connect_timeout=int(SECONDS), read_timeout=int(SECONDS), write_timeout=int(SECONDS), ssl=context,
        autocommit=True, defer_connect=True, charset="utf8mb4",
    )  # fmt: skip
    try:
        connection.connect(socket.create_connection((address, who.port), SECONDS))
    except (pymysql.MySQLError, OSError, ValueError, RuntimeError) as error:
        number = error.args[0] if isinstance(error, pymysql.MySQLError) and error.args else 0
        if number in _REFUSED:
            raise Refused(f"the server refused the login of {who.username}") from error
        if number in (ER.BAD_DB_ERROR, ER.DBACCESS_DENIED_ERROR):
            raise StepFailed(f"{who.username} has no database {who.dbname}", final=True) from error
        if number == CR.CR_SSL_CONNECTION_ERROR:
            raise WithoutTls(f"{who.host} offers no TLS, or none that can be trusted") from error
        raise not_reached(who, error, _kind(error)) from error
    return connection


def _kind(error: Exception) -> str:
    """What is known of an error without its text, which may quote a statement."""
    number = error.args[0] if error.args and isinstance(error.args[0], int) else None
    return type(error).__name__ + (f" {number}" if number is not None else "")


async def asked(house: House, who: Credential, question: Callable[[Any], T]) -> T:
    """What a function of a cursor gives, as the user. Raises StepFailed, Refused, Lacking."""
    address = await address_of(house, who)

    def work() -> T:
        with _connected(house, who, address) as connection, connection.cursor() as cursor:
            return question(cursor)

    return await asyncio.to_thread(work)


def rows(cursor: Any, statement: str, *values: str) -> Sequence[Sequence[Any]]:
    """Run a statement; the driver quotes the values."""
    cursor.execute(statement, values)
    found: Sequence[Sequence[Any]] = cursor.fetchall()
    return found


def is_mariadb(cursor: Any) -> bool:
    return "mariadb" in str(rows(cursor, "select version()")[0][0]).lower()


def hashed(password: str) -> str:
    """What mysql_native_password keeps of a password."""
    return "*" + hashlib.sha1(hashlib.sha1(password.encode()).digest()).hexdigest().upper()  # noqa: S324 - its rule


def account_of(cursor: Any) -> tuple[str, str]:
    """The account that the server took the login for: the user, and its pattern of hosts."""
    user, _, host = str(rows(cursor, "select current_user()")[0][0]).rpartition("@")
    return user, host


def _give_both(cursor: Any, account: tuple[str, str], new: str, old: str) -> None:
    """Both passwords log in from now on."""
    if is_mariadb(cursor):
        rows(
            cursor,
            "alter user %s@%s identified via mysql_native_password using %s or mysql_native_password using %s",
            *account, hashed(new), hashed(old),
        )  # fmt: skip
    else:
        rows(cursor, "alter user %s@%s identified by %s retain current password", *account, new)


def _give(cursor: Any, account: tuple[str, str], new: str) -> None:
    """The new password alone logs in from now on."""
    if is_mariadb(cursor):
        rows(cursor, "alter user %s@%s identified via mysql_native_password using %s", *account, hashed(new))
    else:
        rows(cursor, "alter user %s@%s identified by %s", *account, new)


def _give_itself(cursor: Any, new: str) -> None:
    """What every user may do."""
    if is_mariadb(cursor):
        rows(cursor, "set password = %s", hashed(new))
    else:
        rows(cursor, "alter user user() identified by %s", new)


class _Mysql(DatabaseUser):
    engines = ENGINES

    async def can_log_in(self, house: House, who: Credential) -> bool:
        try:
            await asked(house, who, lambda cursor: rows(cursor, "select 1"))
        except Refused:
            return False
        return True


class SingleUser(_Mysql, OneUser):
    """The user's password changes, by itself or by the user of `masterarn`.

    Whoever may alter users lets both passwords log in until the next rotation. A user who may not changes its own, and
    then the current value does not log in until the labels have moved.
    """

    reversible = False

    async def change(self, work: Work, pending: Credential, old: Credential) -> Done:
        house = work.house
        account = await asked(house, old, account_of)
        who = old if work.master is None else master_of(work, old, ENGINES)
        try:
            await asked(house, who, lambda cursor: _give_both(cursor, account, pending.password, old.password))
        except Refused as refused:
            raise StepFailed(str(refused)) from refused
        except Lacking:
            if work.master is not None:
                raise
        else:
            return Done(f"{who.username} gave {pending.username} a second password on {pending.host}")
        address = await address_of(house, pending)
        await work.quiet()

        def change_itself(cursor: Any) -> None:
            """Where the new password does not log in after all, the old one is put back over the same connection."""
            _give_itself(cursor, pending.password)
            try:
                with _connected(house, pending, address):
                    pass
            except StepFailed as failed:
                _give_itself(cursor, old.password)
                raise StepFailed(f"{failed} with a new password; it was put back") from failed

        await asked(house, old, change_itself)
        return Done(f"{pending.username} changed its password on {pending.host}", tried=logged_in(pending))


class Alternating(_Mysql, TwoUsers):
    """Two accounts with the same pattern of hosts; the one that is made gets what SHOW GRANTS tells of the first."""

    longest_name = 80
    """MariaDB's; MySQL takes 32, and says so."""

    async def give_other(self, house: House, master: Credential, current: Credential, pending: Credential) -> bool:
        account = await asked(house, current, account_of)
        other = (pending.username, account[1])

        def give(cursor: Any) -> bool:
            there = rows(cursor, "select 1 from mysql.user where user = %s and host = %s", *other)
            if there and not _is_locked(cursor, other):
                _give(cursor, other, pending.password)
                return False
            if not there:
                _make_locked(cursor, other, pending.password)
            for row in rows(cursor, "show grants for %s@%s", *account):
                privileges, option = _grant_to(str(row[0]), account)
                rows(cursor, f"grant {privileges} to %s@%s{option}", *other)
            _give(cursor, other, pending.password)
            rows(cursor, "alter user %s@%s account unlock", *other)
            return True

        return await asked(house, master, give)


def _make_locked(cursor: Any, account: tuple[str, str], password: str) -> None:
    """An account that nobody gets into yet: these servers have no transactions for rights, and whoever is killed
    between two of them must not leave one that logs in with only some."""
    if is_mariadb(cursor):
        how, known = "via mysql_native_password using %s", hashed(password)
    else:
        how, known = "by %s", password
    rows(cursor, f"create user %s@%s identified {how} account lock", *account, known)


def _is_locked(cursor: Any, account: tuple[str, str]) -> bool:
    return "ACCOUNT LOCK" in str(rows(cursor, "show create user %s@%s", *account)[0][0]).upper()


def _grant_to(line: str, account: tuple[str, str]) -> tuple[str, str]:
    """What a line of SHOW GRANTS gives, as the server spells it, and whether it may be passed on. Raises StepFailed."""
    for mark in "`'":
        quoted = "@".join(f"{mark}{each.replace(mark, mark * 2)}{mark}" for each in account)
        privileges, found, rest = line.removeprefix("GRANT ").partition(f" TO {quoted}")
        if found:
            option = " with grant option" if rest.upper().endswith("WITH GRANT OPTION") else ""
            return privileges.replace("%", "%%"), option
    raise StepFailed(
        "the rights of the current user cannot be read: grant them to the second user yourself", final=True
    )
