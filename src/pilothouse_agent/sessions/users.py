"""Who a session is on this machine (session-protocol 7.6).

An agent that is not root is itself. A root agent takes the run-as user of the document, or ssm-user,
which is made when it is first needed, together with its line for sudo.
"""

import contextlib
import fcntl
import grp
import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pilothouse_agent.sessions.order import Order

SSM_USER = "ssm-user"
SUDOERS = Path("/etc/sudoers.d/ssm-agent-users")
_RULE = f"# User rules for {SSM_USER}\n{SSM_USER} ALL=(ALL) NOPASSWD:ALL\n"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class CannotStart(Exception):
    """The session cannot begin on this node; the text is for the user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A user of the machine."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str
    login_shell: str

    @property
    def is_own(self) -> bool:
        return self.uid == os.geteuid()

    def become(self) -> None:
        """For a child, for good. Groups first: afterwards it may not."""
        if os.geteuid() == 0:
            os.setgroups(self.groups)
            os.setresgid(self.gid, self.gid, self.gid)
            os.setresuid(self.uid, self.uid, self.uid)
        os.umask(0o022)

    def environment(self, term: str = "") -> dict[str, str]:
        """What a program of the session sees: nothing of the agent's own environment but language and time zone."""
        kept = {name: value for name, value in os.environ.items() if name in ("LANG", "TZ") or name.startswith("LC_")}
        made = {"LANG": "C.UTF-8", **kept, "PATH": _PATH, "HOME": self.home, "USER": self.name, "LOGNAME": self.name}
        made["SHELL"] = self.login_shell
        return {**made, "TERM": term} if term else made


def account_for(order: Order, default: str, state: Path) -> Account:
    """The session's user. Raises CannotStart."""
    if os.geteuid() != 0:
        own = _own()
        if order.run_as_enabled and order.run_as not in ("", own.name):
            raise CannotStart(f"The agent runs as {own.name}, so the session cannot run as {order.run_as}.")
        return own
    if order.elevated:
        return _named("root")
    if order.run_as_enabled:
        return _run_as(order.run_as)
    if default == SSM_USER:
        with _alone(state):
            _make_ssm_user()
    try:
        return _named(default)
    except KeyError as error:
        raise CannotStart(f"The node has no user {default}, which its setting session_user names.") from error


def _run_as(name: str) -> Account:
    if not name:
        raise CannotStart(
            "Run As is on, but neither the caller's tag SSMSessionRunAs nor runAsDefaultUser names a user."
        )
    try:
        account = _named(name)
    except (KeyError, ValueError) as error:
        raise CannotStart(f"The Run As user {name} does not exist on this node.") from error
    if account.uid == 0 or account.gid == 0:
        raise CannotStart(f"The Run As user {name} has the user or group id 0, which is refused.")
    return account


def _named(name: str) -> Account:
    return _account(pwd.getpwnam(name))


def _own() -> Account:
    try:
        return _account(pwd.getpwuid(os.geteuid()))
    except KeyError:  # a container with a made-up user id
        uid, gid = os.geteuid(), os.getegid()
        return Account(
            name=str(uid), uid=uid, gid=gid, groups=(), home=os.environ.get("HOME", "/"), login_shell="/bin/sh"
        )


def _account(entry: pwd.struct_passwd) -> Account:
    return Account(
        name=entry.pw_name,
        uid=entry.pw_uid,
        gid=entry.pw_gid,
        groups=tuple(os.getgrouplist(entry.pw_name, entry.pw_gid)),
        home=entry.pw_dir or "/",
        login_shell=_shell(entry.pw_shell),
    )


def _shell(of_user: str) -> str:
    """The user's login shell; sh where that lets nobody in."""
    lets_in = os.path.basename(of_user) not in ("nologin", "false", "sync", "shutdown", "halt")
    return of_user if of_user and lets_in and os.access(of_user, os.X_OK) else "/bin/sh"


@contextlib.contextmanager
def _alone(state: Path) -> Iterator[None]:
    lock = os.open(state / "sessions" / "user.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _make_ssm_user() -> None:
    """The user, and its rule for sudo only together with it: who removed the rule does not get it back."""
    with contextlib.suppress(KeyError):
        pwd.getpwnam(SSM_USER)
        return
    program = shutil.which("useradd", path=_PATH)
    argv = [program, "-m", SSM_USER] if program else [shutil.which("adduser", path=_PATH) or "adduser", "-D", SSM_USER]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotStart(f"The user {SSM_USER} could not be made: {error}") from error
    if done.returncode != 0:
        reason = done.stderr.strip()[-300:] or f"{argv[0]} exited with {done.returncode}"
        raise CannotStart(f"The user {SSM_USER} could not be made: {reason}")
    with contextlib.suppress(FileExistsError, FileNotFoundError):  # it is there already; or there is no sudo
        descriptor = os.open(SUDOERS, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o440)
        try:
            os.write(descriptor, _RULE.encode())
            os.fchmod(descriptor, 0o440)
        finally:
            os.close(descriptor)


def tty_group(account: Account) -> int:
    """The group that terminals belong to."""
    try:
        return grp.getgrnam("tty").gr_gid
    except KeyError:
        return account.gid
