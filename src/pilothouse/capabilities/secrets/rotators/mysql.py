"""MySQL and MariaDB: one user whose password changes, or two that take turns.

MariaDB gets a hash, never a password; MySQL hides passwords in its logs itself. Texts are quoted by the driver.
"""

import asyncio
import hashlib
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
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
from pilothouse.capabilities.secrets.rotators.mysql_rights import Account, give_rights, is_locked, make_locked, rows
from pilothouse.capabilities.secrets.rotators.rotator import Done, StepFailed, Work

ENGINES: Final = {"mysql": 3306, "mariadb": 3306, "aurora-mysql": 3306}
_REFUSED: Final = frozenset({ER.ACCESS_DENIED_ERROR, ER.HOST_NOT_PRIVILEGED, 1698, 1862, 3118, 4151})
"""The numbers without a name: no password opens it, which MariaDB also says of some users that are not there, not to
tell who is; the password is too old; the account is locked, in MySQL and in MariaDB."""
_WANTS_CURRENT: Final = 3892
"""Who changes itself must say its current password too."""
_LACKING: Final = frozenset(
    {
        ER.SPECIFIC_ACCESS_DENIED_ERROR,
        ER.TABLEACCESS_DENIED_ERROR,
        ER.DBACCESS_DENIED_ERROR,
        ER.CANNOT_USER,
        1410,
        _WANTS_CURRENT,
    }
)
_IN_HISTORY: Final = 3638
_POLICY: Final = 1819
_WHY: Final = {
    _POLICY: "its policy of passwords does not take the one that was made",
    ER.OPTION_PREVENTS_STATEMENT: "an option of its forbids it, such as read_only, or MariaDB's "
    "strict_password_validation where it checks passwords itself: it takes no hash then",
    1470: "the name of the second user is too long for it",
    3159: "it wants TLS, and the secret's ssl is false",
}
_PASSING: Final = frozenset({ER.OPTION_PREVENTS_STATEMENT})
"""Of these, what may be over when it is tried again."""
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
        raise _not_done(number, error) from error
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
        host=who.host, port=who.port, user=who.username, database=who.dbname,
        password=who.password.encode(),  # the driver's own way ends at Latin-1
        connect_timeout=int(SECONDS), read_timeout=int(SECONDS), write_timeout=int(SECONDS), ssl=context,
        ssl_disabled=context is None,  # else the driver uses it where it is offered
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
        if number in _WHY:
            raise _not_done(number, error) from error
        raise not_reached(who, error, _kind(error)) from error
    return connection


def _not_done(number: int, error: Exception) -> StepFailed:
    why = f"the server refused what was asked of it: {_WHY.get(number) or _kind(error)}"
    return StepFailed(why, final=number in _WHY.keys() - _PASSING)


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


def is_mariadb(cursor: Any) -> bool:
    return "mariadb" in str(rows(cursor, "select version()")[0][0]).lower()


def hashed(password: str) -> str:
    """What mysql_native_password keeps of a password."""
    return "*" + hashlib.sha1(hashlib.sha1(password.encode()).digest()).hexdigest().upper()  # noqa: S324 - its rule


def account_of(cursor: Any) -> Account:
    """The account that the server took the login for: the user, and its pattern of hosts."""
    user, _, host = str(rows(cursor, "select current_user()")[0][0]).rpartition("@")
    return user, host


def _give_both(cursor: Any, account: Account, new: str, old: str) -> None:
    """Both passwords log in from now on."""
    if is_mariadb(cursor):
        rows(
            cursor,
            "alter user %s@%s identified via mysql_native_password using %s or mysql_native_password using %s",
            *account, hashed(new), hashed(old),
        )  # fmt: skip
        return
    try:
        # what is kept beside the new one is the last that was set, which may be that of a rotation given up
        rows(cursor, "alter user %s@%s identified by %s", *account, old)
    except pymysql.MySQLError as error:
        if error.args[0] not in (_IN_HISTORY, _POLICY, _WANTS_CURRENT):
            raise
    rows(cursor, "alter user %s@%s identified by %s retain current password", *account, new)


def _give(cursor: Any, account: Account, new: str) -> None:
    """The new password alone logs in from now on."""
    if is_mariadb(cursor):
        rows(cursor, "alter user %s@%s identified via mysql_native_password using %s", *account, hashed(new))
    else:
        rows(cursor, "alter user %s@%s identified by %s", *account, new)


def _give_itself(cursor: Any, new: str, old: str) -> None:
    """What every user may do."""
    if is_mariadb(cursor):
        rows(cursor, "set password = %s", hashed(new))
        return
    try:
        rows(cursor, "alter user user() identified by %s", new)
    except pymysql.MySQLError as error:
        if error.args[0] != _WANTS_CURRENT:
            raise
        rows(cursor, "alter user user() identified by %s replace %s", new, old)


class _Mysql(DatabaseUser):
    engines = ENGINES

    @asynccontextmanager
    async def login(self, house: House, who: Credential) -> AsyncIterator[None]:
        await asked(house, who, lambda cursor: None)
        yield


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
            _give_itself(cursor, pending.password, old.password)
            try:
                with _connected(house, pending, address):
                    pass
            except StepFailed as failed:
                _give_itself(cursor, old.password, pending.password)
                raise StepFailed(f"{failed} with a new password; it was put back") from failed

        await asked(house, old, change_itself)
        return Done(f"{pending.username} changed its password on {pending.host}", tried=logged_in(pending))


class Alternating(_Mysql, TwoUsers):
    """Two accounts with the same pattern of hosts; the one that is made gets the rights of the first."""

    longest_name = 80
    """MariaDB's; MySQL takes 32, and says so."""

    async def give_other(self, house: House, master: Credential, current: Credential, pending: Credential) -> bool:
        account = await asked(house, current, account_of)
        other = (pending.username, account[1])

        def give(cursor: Any) -> bool:
            there = rows(cursor, "select 1 from mysql.user where user = %s and host = %s", *other)
            if there and not is_locked(cursor, other):
                _give(cursor, other, pending.password)
                return False
            if not there:
                if is_mariadb(cursor):
                    make_locked(cursor, other, account, "via mysql_native_password using %s", hashed(pending.password))
                else:
                    make_locked(cursor, other, account, "by %s", pending.password)
            give_rights(cursor, account, other)
            _give(cursor, other, pending.password)
            rows(cursor, "alter user %s@%s account unlock", *other)
            return True

        return await asked(house, master, give)
