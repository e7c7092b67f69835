"""The tutorial of the example company, played word for word: three machines inside this one, and the unmodified CLI."""

import os
import random
import shutil
import signal
import subprocess
import urllib.request
from pathlib import Path

import pytest

from pilothouse.capabilities.machines.bindings import libvirt
from pilothouse.capabilities.machines.driver import DriverFailed
from tests.acceptance.installation import BIN, eventually, free_ports
from tests.acceptance.tutorial import Block, Terminal, blocks, surroundings

ROOT = Path(__file__).parents[2]
SERVERS = ("shop-1", "shop-2", "accounts-1")
NETWORK = f"10.{random.randrange(100, 200)}.{random.randrange(1, 250)}"

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="machines inside this one are made by root"),
    pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="the tutorial is for Debian"),
]


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """The directory that the reader sits in."""
    for name in ("scripts", "docs"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / ".venv").symlink_to(BIN.parent)
    return tmp_path


class FirstTerminal:
    """The one where the server runs."""

    def __init__(self, folder: Path, environment: dict[str, str], http: int) -> None:
        self._folder, self._environment, self._http = folder, environment, http
        self._process: subprocess.Popen[bytes] | None = None
        self._lines = ""

    def serve(self, lines: str) -> None:
        """Ctrl-C if it runs, and the lines."""
        self.interrupt()
        self._lines += lines  # what was exported in this terminal stays
        exports = self._lines.replace("pilothouse serve\n", "") + "exec pilothouse serve"
        with (self._folder / "server.log").open("ab") as log:
            argv = ["bash", "-ec", exports]
            self._process = subprocess.Popen(argv, cwd=self._folder, env=self._environment, stderr=log)
        eventually(self._answers, what="the server")

    def interrupt(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(30)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._folder / "server.log").read_text()[-3000:]
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._http}/health", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


def test_a_newcomer_builds_the_example_company(desk: Path) -> None:
    try:
        libvirt()
    except DriverFailed as missing:
        if os.environ.get("CI"):
            pytest.fail(f"{missing}; in CI nothing may be skipped")
        pytest.skip(str(missing))
    http, https = free_ports(2)
    environment = surroundings(
        HOME=str(desk), NETWORK=NETWORK,
        PILOTHOUSE_HTTP=f"127.0.0.1:{http}", PILOTHOUSE_HTTPS=f"0.0.0.0:{https}",
    )  # fmt: skip
    setup, *story = blocks(ROOT / "docs/tutorial/the-example-company.md", **{"10.86.0": NETWORK, "7743": str(https)})
    assert setup == Block("make setup\n", None)  # which is how this test came to run
    server, terminal = FirstTerminal(desk, environment, http), Terminal(desk, environment)
    try:
        for block in story:
            if block.lines.endswith("pilothouse serve\n"):
                server.serve(block.lines)
                continue
            said = terminal.type(block.lines)
            if block.shown is not None:
                assert said == block.shown
    finally:
        for left in (desk / "machines").glob("*"):
            subprocess.run([ROOT / "scripts/machine", "stop", left.name], cwd=desk, check=False)
        terminal.close()
        server.interrupt()
    assert (desk / "patches.html").stat().st_size > 1000
    assert not list((desk / "machines").iterdir())
