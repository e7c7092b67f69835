"""Databases whose passwords count: a PostgreSQL and a Redis of our own, and the MariaDB at hand or one of our own.

The PostgreSQL server that other tests use may let everybody in without a password, so this one is another.
"""

import asyncio
import ctypes
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import pymongo
import pymysql
import pytest
import redis as redis_client

from tests.capabilities.secrets.mongo_server import Users, mongo_server

READY_WITHIN = 60.0
MASTER = "Master-of-tests_1"
ON_MYSQL = os.environ.get("PILOTHOUSE_TEST_MYSQL")
"""The port of a MySQL that the tests of MariaDB are to run on, if one is named."""


@dataclass(frozen=True)
class DatabaseServer:
    """A server and who may do everything on it."""

    engine: str
    port: int
    master: str
    password: str
    log: Path | None = None
    """Where it writes the statements it gets, if it does."""

    def members(self, username: str, password: str, **more: Any) -> dict[str, Any]:
        """The value of a secret for one of its users."""
        return {
            "engine": self.engine, "host": "127.0.0.1", "port": self.port, "username": username,
            "password": password, **more,
        }  # fmt: skip


def missing(what: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(f"{what} is not installed; in CI nothing may be skipped")
    pytest.skip(f"{what} is not installed; its tests are left out")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _become(user: pwd.struct_passwd | None) -> dict[str, Any]:
    def end_with_parent() -> None:
        ctypes.CDLL(None).prctl(1, signal.SIGINT)

    given: dict[str, Any] = {"preexec_fn": end_with_parent}
    return given | ({} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []})


def _unprivileged(*names: str) -> pwd.struct_passwd | None:
    if os.geteuid():
        return None
    for name in (*names, "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise LookupError("no unprivileged user")


@contextmanager
def _home(user: pwd.struct_passwd | None) -> Iterator[Path]:
    home = Path(tempfile.mkdtemp(prefix="pilothouse-rotation-"))
    try:
        if user is not None:
            os.chown(home, user.pw_uid, user.pw_gid)
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def _running(
    command: list[str], user: pwd.struct_passwd | None, log: Path, ready: Callable[[], bool]
) -> Iterator[None]:
    with log.open("wb") as output:
        child = subprocess.Popen(
            command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, cwd=log.parent, **_become(user)
        )  # fmt: skip
    try:
        give_up_at = time.monotonic() + READY_WITHIN
        while not ready():
            if child.poll() is not None or time.monotonic() > give_up_at:
                pytest.fail(f"{command[0]} did not start: {log.read_text(errors='replace')[-800:]}")
            time.sleep(0.05)  # another program's start
        yield
    finally:
        child.send_signal(signal.SIGINT)
        try:
            child.wait(20)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _certificate(tls: Path, home: Path, user: pwd.struct_passwd | None) -> tuple[Path, Path]:
    """`server.pem` and `server.key` of a directory, where the server's user may read them and nobody else."""
    copies = home / "server.pem", home / "server.key"
    for copy in copies:
        shutil.copyfile(tls / copy.name, copy)
        copy.chmod(0o600)
        if user is not None:
            os.chown(copy, user.pw_uid, user.pw_gid)
    return copies


@contextmanager
def postgresql(tls: Path | None = None) -> Iterator[DatabaseServer]:
    """A cluster that wants passwords, and writes down every statement. `tls`: where its certificate is."""
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda each: int(re.sub(r"\D", "", each.parts[-3]) or 0)
    )
    on_path = shutil.which("initdb")
    if not found and on_path is None:
        missing("PostgreSQL")
    programs = found[-1].parent if found else Path(str(on_path)).resolve().parent
    user = _unprivileged("postgres")
    with _home(user) as home:
        secret = home / "secret"
        secret.write_text(MASTER)
        if user is not None:
            os.chown(secret, user.pw_uid, user.pw_gid)
        made = subprocess.run(
            [programs / "initdb", "-D", home / "data", "-U", "master", "-A", "scram-sha-256", f"--pwfile={secret}",
             "-E", "UTF8", "--locale=C", "--no-sync"],
            capture_output=True, text=True, cwd=home, **_become(user),
        )  # fmt: skip
        assert made.returncode == 0, made.stderr
        port, log = free_port(), home / "log"
        command = [
            str(programs / "postgres"), "-D", str(home / "data"), "-p", str(port), "-h", "127.0.0.1", "-k", str(home),
            "-c", "fsync=off", "-c", "log_statement=all",
        ]  # fmt: skip
        if tls is not None:
            certificate, key = _certificate(tls, home, user)
            command += ["-c", "ssl=on", "-c", f"ssl_cert_file={certificate}", "-c", f"ssl_key_file={key}"]
        ready = home / "data" / "postmaster.pid"
        with _running(command, user, log, lambda: ready.exists() and "ready" in ready.read_text(errors="replace")):
            yield DatabaseServer("postgres", port, "master", MASTER, log)


@contextmanager
def mariadb(tls: Path | None = None, *options: str) -> Iterator[DatabaseServer]:
    """The server on the usual port if it lets root in, else one of our own. Both get a user who may do everything.

    `tls`: where its certificate is; then it is one of our own, started with `options`. PILOTHOUSE_TEST_MYSQL=PORT has
    these tests run on a MySQL there, in MariaDB's place.
    """
    with (
        nullcontext(int(ON_MYSQL)) if ON_MYSQL and tls is None else _mariadb_port(tls, *options) as port,
        closing(_as_root(port)) as connection,
        connection.cursor() as cursor,
    ):
        name = f"rotation_master_{os.getpid()}"
        cursor.execute("create user %s@'%%' identified by %s", (name, MASTER))
        try:
            cursor.execute("grant all on *.* to %s@'%%' with grant option", (name,))
            yield DatabaseServer("mariadb", port, name, MASTER)
        finally:
            cursor.execute("drop user %s@'%%'", (name,))


def _as_root(port: int) -> Any:
    return pymysql.connect(host="127.0.0.1", port=port, user="root", password="", connect_timeout=5, autocommit=True)


def _lets_root_in(port: int) -> bool:
    try:
        _as_root(port).close()
    except (pymysql.MySQLError, OSError):
        return False
    return True


@contextmanager
def _mariadb_port(tls: Path | None, *options: str) -> Iterator[int]:
    if tls is None and _lets_root_in(3306):
        yield 3306
        return
    server = shutil.which("mariadbd") or shutil.which("mariadbd", path="/usr/sbin")
    install = shutil.which("mariadb-install-db")
    if server is None or install is None:
        missing("MariaDB")
    assert server is not None
    assert install is not None
    user = _unprivileged("mysql")
    with _home(user) as home:
        data, port = home / "data", free_port()
        made = subprocess.run(
            [install, f"--datadir={data}", "--auth-root-authentication-method=normal", "--skip-test-db"],
            capture_output=True, text=True, cwd=home, **_become(user),
        )  # fmt: skip
        assert made.returncode == 0, made.stderr
        command = [
            server, "--no-defaults", f"--datadir={data}", f"--port={port}", "--bind-address=127.0.0.1",
            f"--socket={home}/socket", f"--pid-file={home}/pid", *options,
        ]  # fmt: skip
        if tls is not None:
            certificate, key = _certificate(tls, home, user)
            command += [f"--ssl-cert={certificate}", f"--ssl-key={key}"]
        with _running(command, user, home / "log", lambda: _listens(port)):
            yield port


@contextmanager
def redis_server(tls: Path | None = None) -> Iterator[DatabaseServer]:
    """A server whose default user wants a password. `tls`: where its certificate is; then it speaks nothing else."""
    program = shutil.which("redis-server")
    if program is None:
        missing("Redis")
    assert program is not None
    with _home(None) as home:
        port = free_port()
        users = home / "users.acl"
        users.write_text(f"user default on >{MASTER} ~* &* +@all\n")
        command = [
            program, "--port" if tls is None else "--tls-port", str(port), "--bind", "127.0.0.1",
            "--save", "", "--aclfile", str(users), "--dir", str(home),
        ]  # fmt: skip
        if tls is not None:
            certificate, key = _certificate(tls, home, None)
            command += ["--port", "0", "--tls-cert-file", str(certificate), "--tls-key-file", str(key)]
            command += ["--tls-auth-clients", "no"]
        with _running(command, None, home / "log", lambda: _listens(port)):
            yield DatabaseServer("redis", port, "default", MASTER)


@dataclass(frozen=True)
class MongoServer(DatabaseServer):
    """One that speaks MongoDB's protocol; its users are at hand."""

    users: Users = field(default_factory=Users)


@contextmanager
def mongodb(tls: Path | None = None) -> Iterator[MongoServer]:
    """`tls`: where its certificate is; then it speaks nothing else."""
    with mongo_server(None if tls is None else (tls / "server.pem", tls / "server.key")) as (port, users):
        users.add("root", MASTER, "userAdmin", "changeOwnPassword")
        yield MongoServer("mongo", port, "root", MASTER, users=users)


@pytest.fixture(scope="module")
def mongo() -> Iterator[MongoServer]:
    with mongodb() as found:
        yield found


@pytest.fixture(scope="module")
def postgres() -> Iterator[DatabaseServer]:
    with postgresql() as found:
        yield found


@pytest.fixture(scope="module")
def maria() -> Iterator[DatabaseServer]:
    with mariadb() as found:
        yield found


@pytest.fixture(scope="module")
def redis() -> Iterator[DatabaseServer]:
    with redis_server() as found:
        yield found


@pytest.fixture
def maria_user(maria: DatabaseServer) -> Iterator[str]:
    """Who may read one table, with the password First-password1."""
    name = f"app'{uuid.uuid4().hex[:8]}"
    with closing(
        pymysql.connect(
            host="127.0.0.1", port=maria.port, user=maria.master, password=maria.password, autocommit=True
        )
    ) as connection, connection.cursor() as cursor:  # fmt: skip
        wants = "password require current" if ON_MYSQL else ""  # by which it asks for more of who changes itself
        cursor.execute(f"create user %s@'%%' identified by 'First-password1' {wants}", (name,))
        cursor.execute("grant select on mysql.help_topic to %s@'%%'", (name,))
        yield name
        for each in (name, f"{name}_clone"):
            cursor.execute("drop user if exists %s@'%%'", (each,))


def on_postgres(ours: DatabaseServer, statement: str) -> None:
    async def work() -> None:
        connection = await asyncpg.connect(
            host="127.0.0.1", port=ours.port, user=ours.master, password=ours.password, database="postgres"
        )
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(work())


def logs_in(members: dict[str, Any]) -> bool:
    """Whether a client with the value of a secret is let in."""
    if members["engine"] == "postgres":

        async def work() -> None:
            connection = await asyncpg.connect(
                host=members["host"], port=members["port"], user=members["username"], password=members["password"],
                database="postgres",
            )  # fmt: skip
            await connection.close()

        try:
            asyncio.run(work())
        except asyncpg.InvalidPasswordError:
            return False
        return True
    if members["engine"] == "redis":
        with redis_client.Redis(
            host=members["host"], port=members["port"], username=members["username"], password=members["password"]
        ) as client:
            try:
                return bool(client.ping())
            except redis_client.AuthenticationError:
                return False
    if members["engine"] == "mongo":
        with pymongo.MongoClient[Any](
            members["host"], members["port"], username=members["username"], password=members["password"],
            directConnection=True,
        ) as mongo_client:  # fmt: skip
            try:
                return bool(mongo_client.admin.command("ping")["ok"])
            except pymongo.errors.OperationFailure:
                return False
    try:
        pymysql.connect(
            host=members["host"], port=members["port"], user=members["username"],
            password=members["password"].encode(),
        ).close()  # fmt: skip
    except pymysql.OperationalError:
        return False
    return True
