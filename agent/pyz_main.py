"""Start of the single-file agent: unpack what this machine needs, once, then run from there.

Unpacked code lies in a directory named after its content, private to its owner. Code of this file
must parse under old Pythons, so that they get a sentence and not a SyntaxError.
"""

# ruff: noqa: UP031, UP036, RUF005

import os
import sys

NAME = "pilothouse-agent"


def main():
    if sys.version_info < (3, 11):
        stop("Python 3.11 or later is needed; this is %d.%d (%s)." % (sys.version_info[:2] + (sys.executable,)))
    machine = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}.get(
        os.uname().machine.lower()
    )
    if sys.platform != "linux" or machine is None:
        stop("this file is for Linux on x86-64 or arm64; this is %s %s." % (sys.platform, os.uname().machine))
    archive = os.path.dirname(os.path.abspath(__file__))
    digest = __loader__.get_data(os.path.join(archive, "digest")).decode()
    code = os.path.join(cache(), "code-" + digest[:32])
    if not os.path.isdir(code):
        unpack(archive, code, ("common", machine))
        os.execv(sys.executable, sys.orig_argv)  # noqa: S606 -- start anew, without what unpacking needed in memory
    check(code)
    sys.path[:0] = [os.path.join(code, "common"), os.path.join(code, machine)]
    check_compiled(os.path.join(code, machine))
    from pilothouse_agent.__main__ import main as agent

    return agent()


def check_compiled(directory):
    """One compiled part is made for each Python: after an upgrade of the machine's there may be none."""
    from importlib.util import find_spec

    if find_spec("_cffi_backend") is None:
        versions = {name.split("-")[1] for name in os.listdir(directory) if name.startswith("_cffi_backend.cpython-")}
        known = ", ".join("3." + version[1:] for version in sorted(versions))
        stop("this file is for Python %s; this is %d.%d (%s)." % ((known,) + sys.version_info[:2] + (sys.executable,)))


def cache():
    """The directory for unpacked code: PILOTHOUSE_AGENT_CACHE, below /var/lib for root, else the user's cache."""
    chosen = os.environ.get("PILOTHOUSE_AGENT_CACHE")
    if not chosen and os.geteuid() == 0:
        chosen = "/var/lib/pilothouse-agent/code"
    if not chosen:
        home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
        chosen = os.path.join(home, NAME)
    try:
        os.makedirs(chosen, mode=0o700, exist_ok=True)
    except OSError as error:
        stop("%s cannot be made: %s. Set PILOTHOUSE_AGENT_CACHE to a directory of yours." % (chosen, error.strerror))
    check(chosen)
    return chosen


def check(directory):
    """Code is only run from where nobody else can write."""
    found = os.lstat(directory)
    if found.st_uid != os.geteuid() or found.st_mode & 0o022 or not os.path.isdir(directory):
        stop("%s must be a directory of this user that nobody else can write to." % directory)


def unpack(archive, code, trees):
    """All or nothing: into a fresh directory that is renamed when it is complete."""
    import shutil
    import tempfile
    import zipfile

    fresh = tempfile.mkdtemp(prefix="unpacking-", dir=os.path.dirname(code))
    try:
        with zipfile.ZipFile(archive) as packed:
            names = [name for name in packed.namelist() if name.split("/")[0] in trees]
            packed.extractall(fresh, names)
        os.rename(fresh, code)
    except OSError as error:
        shutil.rmtree(fresh, ignore_errors=True)
        if not os.path.isdir(code):  # else another start of the agent was quicker
            stop("%s cannot be unpacked: %s." % (code, error.strerror))


def stop(reason):
    sys.stderr.write("%s: %s\n" % (NAME, reason))
    sys.exit(1)


if __name__ == "__main__":
    sys.exit(main())
