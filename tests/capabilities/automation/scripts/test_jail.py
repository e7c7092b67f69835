"""Scripts of runbooks try to get out, and reach nothing.

What can be tried in one process is tried in one, for each costs the start of a program: an attempt that raises nothing
has got somewhere. What ends or floods the process has one of its own.
"""

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from pilothouse.capabilities.automation.scripts import jail
from pilothouse.capabilities.automation.scripts.jail import CannotShutIn, Ran, Script, ScriptFailed

PRELUDE = """
import ctypes, json, os, resource, shutil, signal, socket, sqlite3, struct, subprocess, sys, threading, time
libc = ctypes.CDLL(None, use_errno=True)
def must(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), "no")
    return result
def syscall(number, *arguments):
    words = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    return must(libc.syscall(ctypes.c_long(number), *words))
def tcp(host, port, family=socket.AF_INET):
    s = socket.socket(family); s.settimeout(2); s.connect((host, port))
"""
ATTEMPTS = {
    "files": """
        open(e["secret"]).read()
        os.listdir(os.path.dirname(e["secret"]))
        os.stat(e["secret"])
        open("/etc/passwd").read()
        open("/etc/shadow").read()
        open("/etc/hostname").read()
        os.listdir("/home")
        os.listdir("/var/lib")
        os.listdir("/var/spool")
        open("/dev/mem", "rb")
        open("/dev/kmsg")
        os.listdir("/sys/class")
        open("/run/utmp")
        os.symlink(e["secret"], "/tmp/s") or open("/tmp/s").read()
        os.symlink("/proc/1/root", "/tmp/r") or os.listdir("/tmp/r")
        os.link("/usr/lib/os-release", "/tmp/h")
        open("/tmp/../../../../../.." + e["secret"]).read()
        os.chroot("/tmp")
        os.open("..", os.O_RDONLY, dir_fd=os.open("/", os.O_RDONLY)) and open("/tmp/../.." + e["secret"])
        open("/usr/lib/planted", "w")
        os.remove("/usr/lib/os-release")
        os.chmod("/usr/lib", 0o777)
        os.mkdir("/mine")
        open("/script.py", "w")
        shutil.copy(sys.executable, "/tmp/python")
        sqlite3.connect("file:" + e["secret"] + "?mode=ro", uri=True).execute("select 1 from x")
    """,
    "other processes": """
        open("/proc/1/environ").read()
        open("/proc/self/environ").read()
        open("/proc/%d/mem" % e["server"], "rb")
        os.listdir("/proc/self/fd")
        os.listdir("/proc")
        os.kill(e["server"], 0)
        os.kill(e["server"], signal.SIGKILL)
        os.kill(1, signal.SIGKILL)
        os.kill(-1, signal.SIGKILL)
        os.killpg(os.getpgid(0), signal.SIGTERM)
        must(libc.ptrace(16, e["server"], 0, 0))
        must(libc.ptrace(0, 0, 0, 0))
        syscall(310, e["server"], 0, 0, 0, 0, 0)
        syscall(311, e["server"], 0, 0, 0, 0, 0)
        syscall(434, e["server"], 0)
        syscall(438, 3, 0, 0)
        os.sched_setaffinity(e["server"], {0})
        os.setpriority(os.PRIO_PROCESS, 0, -20)
        resource.prlimit(e["server"], resource.RLIMIT_CPU, (1, 1))
        os.environ["PILOTHOUSE_SECRET"]
    """,
    "programs": """
        os.fork()
        os.posix_spawn("/usr/bin/true", ["true"], {})
        os.execv("/usr/bin/true", ["true"])
        os.execv(sys.executable, ["python"])
        subprocess.run(["/bin/ls"])
        os.system("true") and None or open("/bin/sh")
        must(libc.vfork())
        syscall(56, 17, 0, 0, 0, 0)
        syscall(322, -1, b"/bin/true", 0, 0, 0)
        syscall(319, b"memory", 0)
        syscall(321, 0, 0, 0)
    """,
    "network": """
        tcp("127.0.0.1", e["port"])
        tcp("::1", e["port"], socket.AF_INET6)
        tcp("169.254.169.254", 80)
        socket.getaddrinfo("localhost", 80)[0] and tcp("localhost", e["port"])
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)
        socket.socket(socket.AF_UNIX).connect("\\0" + e["abstract"])
        socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
        socket.socketpair()
        syscall(425, 8, ctypes.create_string_buffer(256))
    """,
    "privileges": """
        os.setuid(0)
        os.setgid(0)
        os.setgroups([0])
        must(libc.unshare(0x10000000))
        must(libc.unshare(0x20000))
        must(libc.setns(0, 0))
        must(libc.mount(b"none", b"/tmp", b"tmpfs", 0, None))
        must(libc.mount(b"/", b"/tmp", None, 4096, None))
        must(libc.mount(None, b"/usr/lib", None, 32 | 4096, None))
        must(libc.umount2(b"/usr/lib", 2))
        syscall(155, b".", b".")
        os.mknod("/tmp/disk", 0o600 | 0o060000, os.makedev(8, 0))
        must(libc.prctl(24, 0, 0, 0, 0))
        must(libc.prctl(22, 0, 0, 0, 0))
        must(libc.prctl(38, 0, 0, 0, 0))
        syscall(126, ctypes.create_string_buffer(8), ctypes.create_string_buffer(24))
        syscall(250, 0, 0, 0)
        syscall(317, 0, 0, 0)
        must(libc.sethostname(b"mine", 4))
        must(libc.personality(0x0400000))
        must(libc.klogctl(3, ctypes.create_string_buffer(64), 64))
        must(libc.reboot(0))
        time.clock_settime(time.CLOCK_REALTIME, 0)
        resource.setrlimit(resource.RLIMIT_AS, (1 << 40, 1 << 40))
        resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
        sys.modules["fcntl"] = __import__("fcntl"); sys.modules["fcntl"].ioctl(1, 0x5412, b"x")
    """,
}
ALONE = {
    "memory": "x = []\nwhile True: x.append(bytearray(1 << 20))",
    "memory beneath Python": "libc.malloc.restype = ctypes.c_void_p\nassert not libc.malloc(ctypes.c_size_t(1 << 30))"
    "\nraise MemoryError",
    "processor time": "while True: pass",
    "sleep": "time.sleep(3600)",
    "threads": "for _ in range(5000): threading.Thread(target=time.sleep, args=(60,), daemon=True).start()",
    "disk": "f = open('/tmp/big', 'wb')\nwhile True: f.write(bytes(1 << 20))",
    "inodes": "for n in range(10_000): open(f'/tmp/{n}', 'w').close()",
    "descriptors": "x = [open('/tmp/x', 'w') for _ in range(100)]",
    "flood of output": "while True: sys.stdout.write('x' * 65536)",
    "flood of a result": "return 'x' * (2 << 20)",
    "words to the server": "os.write(int(sys.argv[1]), b'{\"result\": [[' * 100 + b'\\n')\nreturn 1",
    "a flood of words": "while True: os.write(int(sys.argv[1]), b'x' * 65536)",
    "calls without end": "import boto3\nwhile True: boto3.client('ssm').get_parameter(Name='x')",
    "its own end": "os._exit(0)",
    "a crash": "ctypes.string_at(0)",
    "deep recursion of a result": "x = []\nfor _ in range(100_000): x = [x]\nreturn x",
}


async def nobody(service: str, name: str, request: Mapping[str, Any], region: str | None) -> Mapping[str, Any]:
    return {"answer": {"Said": [service, name, dict(request), region]}}


def shut_in(script: Script) -> Ran:
    """What a script comes to. Where scripts cannot be shut in, the tests are left out; in CI they may not."""
    try:
        return asyncio.run(jail.run(script, nobody))
    except CannotShutIn as error:
        if os.environ.get("CI"):
            pytest.fail(f"{error}; in CI nothing may be skipped")
        pytest.skip(str(error))


def ran(text: str, events: Any = None, *, seconds: int = 60) -> Ran:
    """The same, of a handler in Python."""
    return shut_in(Script(text=text, handler="handler", events=events or {}, seconds=seconds))


@contextlib.contextmanager
def within_reach(folder: Path, attempts: list[str]) -> Iterator[dict[str, Any]]:
    """What the attempts go for, as a script's events: a file, listeners, this process. Nothing of it may be reached."""
    secret = folder / "secret"
    secret.write_text("a secret of the server")
    secret.chmod(0o666)
    name = f"pilothouse-{os.getpid()}"
    with (
        pytest.MonkeyPatch.context() as patch,
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.socket(socket.AF_UNIX) as abstract,
    ):
        patch.setenv("PILOTHOUSE_SECRET", "another")
        abstract.bind(f"\0{name}")
        abstract.listen()
        yield {
            "secret": str(secret), "port": listener.getsockname()[1], "server": os.getpid(), "abstract": name,
            "attempts": attempts,
        }  # fmt: skip
        listener.settimeout(0)
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert secret.read_text() == "a secret of the server"


def indented(code: str) -> str:
    return "".join(f"    {line}\n" for line in code.splitlines())


def test_there_are_eighty_and_more() -> None:
    lines = [line for code in ATTEMPTS.values() for line in code.splitlines() if line.strip()]
    assert len(set(lines)) + len(ALONE) >= 80


@pytest.mark.parametrize("kind", ATTEMPTS)
def test_nothing_is_reached(kind: str, tmp_path: Path) -> None:
    lines = [line.strip() for line in ATTEMPTS[kind].splitlines() if line.strip()]
    text = PRELUDE + (
        "def handler(e, c):\n    reached = []\n    for code in e['attempts']:\n        try:\n"
        "            exec(code, {**globals(), 'e': e})\n            reached.append(code)\n"
        "        except (OSError, KeyError, ValueError, sqlite3.Error):\n            pass\n    return reached\n"
    )
    with within_reach(tmp_path, lines) as events:
        assert ran(text, events).result == []


@pytest.mark.parametrize("what", ALONE)
def test_nothing_is_used_up(what: str) -> None:
    began = time.process_time()
    with pytest.raises((ScriptFailed, CannotShutIn)) as caught:
        ran(f"{PRELUDE}def handler(e, c):\n{indented(ALONE[what])}", seconds=2)
    if isinstance(caught.value, CannotShutIn):
        pytest.skip(str(caught.value))
    assert len(getattr(caught.value, "output", "")) <= jail.MOST_OUTPUT
    assert time.process_time() - began < 30


def test_a_script_computes_and_prints_and_asks() -> None:
    got = ran(
        "import boto3, datetime, hashlib, json, re, threading, zoneinfo\n"
        "def handler(events, context):\n"
        "    print('hello', flush=True)\n"
        "    open('/tmp/x', 'w').write('kept')\n"
        "    said = boto3.client('ssm', region_name='eu-west-1').get_parameter(Name='/a', WithDecryption=True)\n"
        "    return {'sum': sum(events['numbers']), 'said': said['Said'], 'file': open('/tmp/x').read()}\n",
        {"numbers": [1, 2, 3]},
    )

    assert got.output == "hello\n"
    assert got.result == {
        "sum": 6,
        "file": "kept",
        "said": ["ssm", "get_parameter", {"Name": "/a", "WithDecryption": True}, "eu-west-1"],
    }


def test_a_script_that_raises_is_told_by_its_own_lines() -> None:
    with pytest.raises(ScriptFailed) as caught:
        ran("def handler(e, c):\n    raise ValueError('not today')\n")
    assert str(caught.value) == "ValueError: not today"
    assert 'File "/tmp/script.py", line 2, in handler' in caught.value.output
    assert "launcher" not in caught.value.output


def test_scripts_that_are_given_up_leave_no_process() -> None:
    async def given_up() -> None:
        script = Script(text="import time\ndef handler(e, c):\n    time.sleep(3600)", handler="handler", events={})
        running = asyncio.ensure_future(jail.run(script, nobody))
        await asyncio.sleep(0.5)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    before = set(_children())
    asyncio.run(given_up())
    assert set(_children()) <= before


def _children() -> list[str]:
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
