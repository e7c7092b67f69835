"""Run a command with PILOTHOUSE_TEST_POSTGRESQL naming a server that tests may make databases on.

In this order: the server that the variable names already; the one on 127.0.0.1:5432 if it trusts `postgres`; a
temporary cluster of our own (its directory, its port, an unprivileged user), which ends with the command. Where there
is no PostgreSQL at all, the tests for it are skipped, with one line that says so; with CI=true nothing is skipped:
Debian's package is installed, and if that fails the run fails.
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
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import asyncpg

VARIABLE = "PILOTHOUSE_TEST_POSTGRESQL"
STANDARD = "postgresql://postgres@127.0.0.1:5432/postgres"
READY_WITHIN = 60.0
STOP_WITHIN = 30.0
PR_SET_PDEATHSIG = 1


class Missing(Exception):
    """There is no PostgreSQL to be had; the text says why."""


def main(command: Sequence[str]) -> int:
    """Run the command; its exit code."""
    if not command:
        print("usage: with_postgresql.py COMMAND [ARGUMENT...]", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    in_ci = os.environ.get("CI", "").lower() == "true"
    try:
        with server(install=in_ci) as url:
            return run(command, {**os.environ, VARIABLE: url})
    except Missing as missing:
        if in_ci:
            print(f"PostgreSQL: {missing}; in CI nothing is skipped", file=sys.stderr)
            return 1
        print(f"PostgreSQL: {missing}; its tests are skipped (mend: install it, or set {VARIABLE}=postgresql://...)")
        return run(command, os.environ)


def run(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """The command in the foreground. Ctrl-C reaches it by itself; we only wait for what it makes of it."""
    with subprocess.Popen(command, env=environment) as child:
        while True:
            try:
                return child.wait()
            except KeyboardInterrupt:
                continue
            except SystemExit:
                child.terminate()
                child.wait()
                raise


@contextmanager
def server(*, install: bool) -> Iterator[str]:
    """The URL of a server for the length of the block. Raises Missing."""
    if url := os.environ.get(VARIABLE):
        yield url
    elif asyncio.run(answers(STANDARD)):
        print(f"PostgreSQL: the server at {STANDARD}", flush=True)
        yield STANDARD
    else:
        programs = installed_programs()
        if programs is None and install and os.geteuid() == 0 and shutil.which("apt-get"):
            install_debian_package()
            programs = installed_programs()
        if programs is None:
            raise Missing("none found")
        with temporary_cluster(programs) as url:
            print(f"PostgreSQL: a temporary server at {url}", flush=True)
            yield url


async def answers(url: str) -> bool:
    """Whether a server lets us in at the URL."""
    try:
        connection = await asyncpg.connect(url, timeout=5, password="", passfile=os.devnull)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return False
    await connection.close()
    return True


def installed_programs() -> Path | None:
    """The directory of the newest initdb and postgres on this machine."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    found.sort(key=lambda path: int(re.sub(r"\D", "", path.parent.name) or 0))
    if found:
        return found[-1]
    on_path = shutil.which("initdb")
    return Path(on_path).resolve().parent if on_path and shutil.which("postgres") else None


def install_debian_package() -> None:
    print("PostgreSQL: none found; running: apt-get install --yes postgresql", flush=True)
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for step in (["update"], ["install", "--yes", "--no-install-recommends", "postgresql"]):
        done = subprocess.run(["apt-get", *step], env=quiet, capture_output=True, text=True)
        if done.returncode:
            raise Missing(f"apt-get {step[0]} failed: {done.stderr.strip()[-400:]}")


@contextmanager
def temporary_cluster(programs: Path) -> Iterator[str]:
    """A cluster below the temporary directory; PostgreSQL refuses to run as root, so then as another user."""
    user = unprivileged_user() if os.geteuid() == 0 else None
    home = Path(tempfile.mkdtemp(prefix="pilothouse-postgresql-"))
    try:
        if user is not None:
            os.chown(home, user.pw_uid, user.pw_gid)
        data, log = home / "data", home / "log"
        made = subprocess.run(
            [programs / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"],
            **become(user),
            capture_output=True,
            text=True,
            cwd=home,
        )
        if made.returncode:
            raise Missing(f"initdb failed: {made.stderr.strip()[-400:]}")
        port = free_port()
        with log.open("wb") as output:
            # Only a crash of the machine could lose what is not synced, and this cluster does not outlive its run.
            options = ["-p", str(port), "-h", "127.0.0.1", "-k", home, "-c", "fsync=off", "-c", "max_connections=200"]
            child = subprocess.Popen(
                [programs / "postgres", "-D", data, *options],
                **become(user),
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                cwd=home,
            )
        try:
            url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
            await_answer(child, url, log)
            yield url
        finally:
            stop(child)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def unprivileged_user() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise Missing("no unprivileged user to run it as")


def become(user: pwd.struct_passwd | None) -> dict[str, object]:
    """Popen arguments: the user, and an end together with ours, whatever ends us."""
    given: dict[str, object] = {"preexec_fn": die_with_parent}
    if user is not None:
        given |= {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    return given


def die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGINT)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def await_answer(child: subprocess.Popen[bytes], url: str, log: Path) -> None:
    give_up_at = time.monotonic() + READY_WITHIN
    while not asyncio.run(answers(url)):
        if child.poll() is not None or time.monotonic() > give_up_at:
            raise Missing(f"the temporary server did not start: {log.read_text(errors='replace').strip()[-400:]}")
        time.sleep(0.1)


def stop(child: subprocess.Popen[bytes]) -> None:
    """Fast shutdown: sessions are ended, nothing is waited for."""
    child.send_signal(signal.SIGINT)
    try:
        child.wait(STOP_WITHIN)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
