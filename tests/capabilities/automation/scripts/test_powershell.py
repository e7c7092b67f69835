"""What runs in PowerShell's place reaches no more than Python does. The program is a stand-in: see stand_in_pwsh."""

from pathlib import Path
from typing import Any

import pytest
from tests.capabilities.automation.scripts.test_jail import ATTEMPTS, PRELUDE, shut_in, within_reach
from tests.capabilities.automation.stand_in_pwsh import installed

from pilothouse.capabilities.automation.scripts import jail, powershell
from pilothouse.capabilities.automation.scripts.jail import Ran, Script, ScriptFailed

OTHERWISE = (
    'open("/proc/self/environ").read()',
    'os.listdir("/proc/self/fd")',
    'os.listdir("/proc")',
    "os.execv(sys.executable",
    "socket.socketpair()",
    'shutil.copy(sys.executable, "/tmp/python")',
)
"""What a program that was started, and sees itself in /proc, may do; what comes of it is looked at apart."""
BESIDES = """
    mmap.mmap(-1, 4096)
    mmap.mmap(-1, 4096, flags=mmap.MAP_SHARED)
    [bytearray(64 << 20) for _ in range(17)]
    [mmap.mmap(-1, 64 << 20, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_WRITE) for _ in range(17)]
    mmap.mmap(-1, 65 << 30, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)
    os.memfd_create("memory")
    open("/proc/1/maps").read()
    os.listdir("/proc/1/fd")
    os.listdir("/proc/1/root")
    os.listdir("/proc/1/cwd")
    open("/proc/1/mem", "rb")
    open("/proc/cpuinfo").read()
    open("/proc/meminfo").read()
    open("/proc/kallsyms").read()
    open("/proc/sysrq-trigger", "w")
    os.listdir("/proc/sys")
    os.write(os.open("/proc/self/oom_score_adj", os.O_WRONLY), b"-1000")
    os.write(os.open("/proc/self/uid_map", os.O_WRONLY), b"0 0 1")
    os.chdir("/proc/self/root") or os.listdir("etc")
    os.chdir("/proc/self/root") or os.listdir("proc/1/root")
    open("/dev/mem", "rb")
    os.mkdir("/dev/mine")
    open(PROGRAM, "a")
    os.remove(PROGRAM)
    os.rename(os.path.dirname(PROGRAM), "/tmp/other")
    os.execv("/usr/bin/env", ["env"])
    os.execv("/bin/sh", ["sh"])
    shutil.copy(sys.executable, "/tmp/python") and os.chmod("/tmp/python", 0o755) or os.execv("/tmp/python", ["x"])
    os.posix_spawn(sys.executable, [sys.executable], {})
    socket.socket(socket.AF_INET).connect(("127.0.0.1", e["port"]))
    socket.socket(socket.AF_UNIX).connect("/run/dbus/system_bus_socket")
    socket.socket(socket.AF_UNIX).connect("/run/systemd/private")
    must(libc.prctl(36, 1, 0, 0, 0))
    must(libc.prctl(4, 1, 0, 0, 0))
"""


@pytest.fixture(scope="module")
def pwsh(tmp_path_factory: pytest.TempPathFactory) -> str:
    return installed(tmp_path_factory.mktemp("powershell") / "7")


def ran(program: str, text: str, events: Any = None, *, seconds: int = 60) -> Ran:
    return shut_in(Script(text=text, events=events or {}, seconds=seconds, powershell=program))


@pytest.mark.parametrize("kind", [*ATTEMPTS, "besides"])
def test_nothing_is_reached(pwsh: str, kind: str, tmp_path: Path) -> None:
    lines = [line.strip() for line in {**ATTEMPTS, "besides": BESIDES}[kind].splitlines() if line.strip()]
    text = (
        f"# python\nPROGRAM = {pwsh!r}\n{PRELUDE}import mmap\ne = json.loads(os.environ['InputPayload'])\n"
        "reached = []\nfor code in e['attempts']:\n    try:\n        exec(code, {**globals(), 'e': e})\n"
        "        reached.append(code)\n"
        "    except (OSError, KeyError, ValueError, MemoryError, sqlite3.Error):\n        pass\n"
        "given = [reached]\n"
    )
    with within_reach(tmp_path, [line for line in lines if not line.startswith(OTHERWISE)]) as events:
        assert ran(pwsh, text, events).result == []


def test_it_sees_itself_alone(pwsh: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PILOTHOUSE_SECRET", "another")
    got = ran(pwsh, (
        "# python\nimport os\n"
        "own = open('/proc/self/maps').read()\n"
        "given = [{'processes': [each for each in os.listdir('/proc') if each.isdigit()], 'self': os.getpid(),"
        " 'environment': dict(os.environ), 'maps': 'stack' in own, 'files': sorted(os.listdir('/proc/self/fd')),"
        " 'user': os.getuid(), 'dev': sorted(os.listdir('/dev')), 'root': sorted(os.listdir('/')),"
        " 'memory': bool(bytearray(700 << 20))}]\n"
    )).result  # fmt: skip
    assert got["processes"] == [str(got["self"])]
    assert got["maps"]
    assert got["memory"]
    assert got["user"] == 65534
    assert set(got["dev"]) == {"null", "urandom"} | ({pwsh.split("/")[2]} if pwsh.startswith("/dev/") else set())
    assert not {"etc", "run", "sys", "var"} & set(got["root"])
    assert len(got["files"]) <= 5  # its three, the pipe, and the one that lists them
    assert "PILOTHOUSE_SECRET" not in got["environment"]
    assert got["environment"]["DOTNET_EnableWriteXorExecute"] == "0"
    assert int(got["environment"]["DOTNET_GCHeapHardLimit"], 16) < powershell.DATA_MIB << 20


ALONE = {
    "processor time": "while True: pass",
    "sleep": "import time; time.sleep(3600)",
    "flood of output": "import sys\nwhile True: sys.stdout.write('x' * 65536)",
    "flood of a result": "given = ['x' * (2 << 20)]",
    "words to the server": "import os\nos.write(say, b'[[' * 100 + b'\\n')\ngiven = [1]",
    "its own end": "import os\nos._exit(0)",
    "another program": "import os, sys\nos.execv(sys.executable, ['python', '-c', 'raise SystemExit(3)'])",
    "a crash": "import ctypes\nctypes.string_at(0)",
    "disk": "f = open('/tmp/big', 'wb')\nwhile True: f.write(bytes(1 << 20))",
}


@pytest.mark.parametrize("what", ALONE)
def test_nothing_is_used_up(pwsh: str, what: str) -> None:
    with pytest.raises(ScriptFailed) as caught:
        ran(pwsh, f"# python\n{ALONE[what]}\n", seconds=2)
    assert len(caught.value.output) <= jail.MOST_OUTPUT


def test_a_program_that_cannot_be_started_is_named(tmp_path: Path) -> None:
    program = tmp_path / "pwsh"
    program.write_text("#!/nowhere/sh\n")
    program.chmod(0o755)
    with pytest.raises(ScriptFailed, match=r"pwsh cannot be run here: No such file"):
        ran(str(program), "return @{}")
