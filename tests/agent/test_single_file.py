"""The agent as one file, under a bare interpreter, and the script that installs it."""

import asyncio
import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.agent import fake_server
from tests.agent.conftest import QUICK
from tests.agent.fake_server import FakeServer

AGENT = Path(__file__).resolve().parents[2] / "agent"


@pytest.fixture(scope="session")
def single_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("single-file") / "pilothouse-agent.pyz"
    done = subprocess.run(
        [sys.executable, AGENT / "build_pyz.py", out], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture
def home(tmp_path: Path) -> Path:
    made = tmp_path / "home"
    made.mkdir()
    return made


def bare_python() -> str:
    """An interpreter without any package: the one this test environment was made from."""
    return os.path.realpath(sys.executable)


def run(single_file: Path, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [bare_python(), "-S", "-E", "-I", single_file, *arguments], cwd=home,
        env={"HOME": str(home), "PATH": os.defpath, "PILOTHOUSE_AGENT_CACHE": str(home / "cache"), **QUICK},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_holds_both_machines_and_all_pythons(single_file: Path) -> None:
    names = zipfile.ZipFile(single_file).namelist()
    for machine in ("x86_64", "aarch64"):
        assert f"{machine}/cryptography/hazmat/bindings/_rust.abi3.so" in names
        for python in ("311", "312", "313", "314", "315"):
            assert f"{machine}/_cffi_backend.cpython-{python}-{machine}-linux-gnu.so" in names
    assert not [name for name in names if "pilothouse/" in name]
    assert zipfile.ZipFile(single_file).read("version") == b"0.1.0.0"


def test_says_its_version_and_unpacks_once(single_file: Path, home: Path) -> None:
    for _ in range(2):
        assert run(single_file, home, "--version").stdout == "pilothouse-agent 0.1.0\n"
    (code,) = (home / "cache").iterdir()
    assert {entry.name for entry in code.iterdir()} == {"common", os.uname().machine}


def test_does_not_run_code_that_others_can_write(single_file: Path, home: Path) -> None:
    (home / "cache").mkdir()
    (home / "cache").chmod(0o777)
    done = run(single_file, home, "--version")
    assert done.returncode == 1
    assert "nobody else can write to" in done.stderr


def test_says_for_which_pythons_it_is_where_it_cannot_run(single_file: Path, home: Path) -> None:
    """A machine's Python may become newer than the file: then there is a sentence, and install.sh installs nothing."""
    assert run(single_file, home, "--version").returncode == 0
    (code,) = (home / "cache").iterdir()
    for part in code.glob(f"*/_cffi_backend.*-{sys.version_info[0]}{sys.version_info[1]}-*"):
        part.unlink()
    done = run(single_file, home, "--version")
    assert done.returncode == 1
    here = f"{sys.version_info[0]}.{sys.version_info[1]}"
    known = [each for each in ("3.11", "3.12", "3.13", "3.14", "3.15") if each != here]
    assert f"this file is for Python {', '.join(known)}; this is {here} (" in done.stderr
    assert "Traceback" not in done.stderr


async def test_registers_and_runs_a_command(single_file: Path, home: Path, server: FakeServer) -> None:
    registration = [
        "register", "--url", server.url, "--ca", str(server.ca_file), "--activation-id", fake_server.ACTIVATION_ID,
        "--activation-code", fake_server.ACTIVATION_CODE, "--region", fake_server.REGION,
    ]  # fmt: skip
    state = ["--state", str(home / "state")]
    done = await asyncio.to_thread(run, single_file, home, *registration, *state)
    assert done.returncode == 0, done.stderr
    (instance_id,) = server.nodes
    process = await asyncio.create_subprocess_exec(
        bare_python(), "-S", "-E", "-I", single_file, "run", *state, cwd=home,
        env={"HOME": str(home), "PATH": os.defpath, "PILOTHOUSE_AGENT_CACHE": str(home / "cache"), **QUICK},
        stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        await server.online(instance_id)
        (home / "inner.yaml").write_text(  # what reads YAML is in the file as well
            "schemaVersion: '2.2'\nmainSteps:\n"
            "- {name: say, action: aws:runShellScript, inputs: {runCommand: [echo from one file]}}\n"
        )
        inputs = {"documentType": "LocalPath", "documentPath": str(home / "inner.yaml")}
        step = {"name": "outer", "action": "aws:runDocument", "inputs": inputs}
        job = await server.send(instance_id, fake_server.steps_command([step]))
        final = await server.final_reply(job)
        assert final.steps["outer"]["standardOutput"] == "from one file\n"
    finally:
        process.terminate()
        await process.wait()


@pytest.fixture
def installed(tmp_path: Path) -> list[str]:
    """Options that make the script install below tmp_path."""
    return [
        "--program", str(tmp_path / "bin" / "pilothouse-agent"), "--state", str(tmp_path / "state"),
        "--unit", str(tmp_path / "pilothouse-agent.service"),
    ]  # fmt: skip


async def install(server: FakeServer, *options: str) -> subprocess.CompletedProcess[str]:
    script = [
        "sh", str(AGENT / "install.sh"), "--url", server.url, "--activation-id", fake_server.ACTIVATION_ID,
        "--activation-code", fake_server.ACTIVATION_CODE, "--region", fake_server.REGION, *options,
    ]  # fmt: skip
    path = f"{Path(bare_python()).parent}:{os.environ['PATH']}"
    return await asyncio.to_thread(
        subprocess.run, script, env={"PATH": path}, capture_output=True, text=True, timeout=60, check=False
    )


async def test_the_install_script_fetches_registers_and_writes_a_unit(
    single_file: Path, server: FakeServer, installed: list[str], tmp_path: Path
) -> None:
    server.files = {"/ca.pem": server.ca_file, "/agent/pilothouse-agent.pyz": single_file}
    fingerprint = hashlib.sha256(server.ca_file.read_bytes()).hexdigest()
    done = await install(server, "--ca-sha256", fingerprint, *installed)
    assert done.returncode == 0, done.stderr
    assert len(server.nodes) == 1
    assert (tmp_path / "bin" / "pilothouse-agent").read_bytes() == single_file.read_bytes()
    unit = (tmp_path / "pilothouse-agent.service").read_text()
    assert "KillMode=process" in unit
    assert "Restart=always" in unit
    assert fake_server.ACTIVATION_CODE not in unit + done.stdout + done.stderr


async def test_the_install_script_refuses_another_authority(
    single_file: Path, server: FakeServer, installed: list[str], tmp_path: Path
) -> None:
    server.files = {"/ca.pem": server.ca_file, "/agent/pilothouse-agent.pyz": single_file}
    done = await install(server, "--ca-sha256", "0" * 64, *installed)
    assert done.returncode == 1
    assert "not the expected one" in done.stderr
    assert not server.nodes
    assert not (tmp_path / "bin" / "pilothouse-agent").exists()
