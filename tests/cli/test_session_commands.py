"""`pilothouse ssh`, `exec`, `cp` and `forward` as users have them: real processes, terminals, kills."""

import contextlib
import fcntl
import hashlib
import json
import os
import pty
import pwd
import select
import signal
import socket
import socketserver
import struct
import subprocess
import termios
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pilothouse.cli.main import application
from pilothouse.cli.shared import Failed
from tests.acceptance.installation import BIN, Installation, eventually, installation
from tests.acceptance.sealed import SEALED, make_sealed

PILOTHOUSE = BIN / "pilothouse"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A server with the nodes web-1 and web-2; sessions there are the tests' own user's."""
    with pytest.MonkeyPatch.context() as patch, installation(tmp_path_factory.mktemp("sessions")) as made:
        patch.setenv("PILOTHOUSE_AGENT_SESSION_USER", pwd.getpwuid(os.geteuid()).pw_name)
        for name in ("web-1", "web-2"):
            made.enrol(name, tags={"Env": "Prod", "Name": name})
        yield made


@pytest.fixture(autouse=True)
def connected(request: pytest.FixtureRequest) -> None:
    """The nodes are there: the test before may have killed the server."""
    if "house" in request.fixturenames:
        house: Installation = request.getfixturevalue("house")
        for agent in house.agents[:2]:
            house.connected(agent)


def asked(house: Installation, *words: object, typed: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [PILOTHOUSE, *map(str, words)], env=house.known(), input=typed, capture_output=True, timeout=120, check=False
    )  # fmt: skip


def said(house: Installation, *words: object, **own: str) -> tuple[int, str]:
    """Exit code and standard error of a command that runs in this process: it starts no session, or fails."""
    names = [str(word) for word in words]
    done = CliRunner().invoke(application(names[0]), names, env=house.known() | own)
    if isinstance(done.exception, Failed):
        return done.exception.code, str(done.exception)
    return done.exit_code, done.stderr


def begun(house: Installation, *words: object, **more: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen([PILOTHOUSE, *map(str, words)], env=house.known(), **more)


def sessions(house: Installation, state: str) -> list[str]:
    return [each["SessionId"] for each in house.boto("ssm").describe_sessions(State=state)["Sessions"]]


def killed_and_back(house: Installation) -> None:
    """kill -9 of the server, and another life of it."""
    house.kill()
    house.start()


# exec


def test_a_program_keeps_its_streams_apart_and_its_exit_code(house: Installation) -> None:
    done = asked(house, "exec", "web-1", "--", "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (done.returncode, done.stdout, done.stderr) == (3, b"out\n", b"err\n")


def test_words_are_not_looked_at_by_a_shell(house: Installation) -> None:
    done = asked(house, "exec", "web-1", "--", "printf", "%s|", "a  b", "$HOME", "it's", "*", "")
    assert done.stdout == b"a  b|$HOME|it's|*||"


def test_any_bytes_go_through_a_program_over_a_kill_of_the_server(house: Installation) -> None:
    data = os.urandom(12_000_000)
    script = "head -c 6000000; echo half >&2; cat"
    with begun(
        house, "exec", "web-1", "--", "sh", "-c", script, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as running:  # fmt: skip
        assert running.stdin is not None
        assert running.stdout is not None
        assert running.stderr is not None
        giver = threading.Thread(target=lambda: (running.stdin.write(data), running.stdin.close()))  # type: ignore[union-attr]
        giver.start()
        got = running.stdout.read(7_000_000)
        killed_and_back(house)
        got += running.stdout.read()
        giver.join(60)
        told = running.stderr.read()
        assert running.wait(60) == 0, told
    assert hashlib.sha256(got).hexdigest() == hashlib.sha256(data).hexdigest()
    assert told.count(b"half\n") == 1


@pytest.mark.parametrize(
    ("words", "code"), [(("no-such-program",), 127), (("/etc",), 126), (("sh", "-c", "kill -9 $$"), 137)]
)  # fmt: skip
def test_the_exit_code_says_what_became_of_the_program(house: Installation, words: tuple[str, ...], code: int) -> None:
    assert asked(house, "exec", "web-1", "--", *words).returncode == code


def test_ctrl_c_is_the_programs_and_a_termination_ends_the_session(house: Installation) -> None:
    script = "trap 'echo caught; exit 7' INT; echo ready; while :; do sleep 0.1; done"
    for number, code in ((signal.SIGINT, 7), (signal.SIGTERM, 143)):
        with begun(house, "exec", "web-1", "-n", "--", "sh", "-c", script, stdout=subprocess.PIPE) as running:
            assert running.stdout is not None
            assert running.stdout.readline() == b"ready\n"
            running.send_signal(number)
            rest = running.stdout.read()
            assert running.wait(60) == code
            assert rest == (b"caught\n" if number == signal.SIGINT else b"")
    eventually(lambda: not sessions(house, "Active"), within=30, what="the end of all sessions")


def test_a_reader_that_leaves_ends_the_program(house: Installation) -> None:
    with begun(house, "exec", "web-1", "-n", "--", "yes", stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stdout.read(4) == b"y\ny\n"
        running.stdout.close()
        assert running.wait(60) == 128 + signal.SIGPIPE


def test_a_document_with_a_key_has_the_session_encrypted_from_end_to_end(house: Installation) -> None:
    make_sealed(house)
    done = asked(house, "exec", "--document", SEALED, "web-1", "--", "sh", "-c", "cat; exit 4", typed=b"\0secret\n")
    assert (done.returncode, done.stdout) == (4, b"\0secret\n"), done.stderr


# What goes wrong says what to do


def test_a_node_that_is_away_is_named_with_since_when(house: Installation) -> None:
    away = house.enrol("gone")
    away.stop()
    ssm = house.boto("ssm")
    eventually(lambda: ssm.get_connection_status(Target=away.node_id)["Status"] == "notconnected", within=30)
    code, text = said(house, "exec", "gone", "--", "true")
    assert code == 255
    assert "(gone) is not connected (last heard of 20" in text
    assert "systemctl status pilothouse-agent" in text
    assert "no node is named nobody" in said(house, "exec", "nobody", "--", "true")[1]


def test_a_missing_permission_is_named(house: Installation) -> None:
    iam = house.boto("iam")
    iam.create_user(UserName="reader")
    allowed = {"Effect": "Allow", "Action": ["ssm:Describe*", "ssm:List*"], "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
    iam.put_user_policy(UserName="reader", PolicyName="read", PolicyDocument=policy)
    key = iam.create_access_key(UserName="reader")["AccessKey"]
    own = {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
    code, text = said(house, "exec", "web-1", "--", "true", **own)
    assert code == 255
    assert "Needed are ssm:StartSession on the node mi-" in text


# ssh


class Terminal:
    """A terminal with the command in it."""

    def __init__(self, house: Installation, *words: str) -> None:
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            os.execve(PILOTHOUSE, [str(PILOTHOUSE), *words], house.known() | {"TERM": "xterm"})
        self.resize(101, 31)
        self.before = termios.tcgetattr(self._fd)
        self._seen = b""

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text: bytes) -> None:
        os.write(self._fd, text)

    def shows(self, text: bytes) -> None:
        """Wait until it does."""

        def look() -> bool:
            with contextlib.suppress(OSError):
                if select.select([self._fd], [], [], 0.1)[0]:
                    self._seen += os.read(self._fd, 65536)
            return text in self._seen

        eventually(look, within=60, what=f"{text!r} in {self._seen!r}")
        self._seen = self._seen.partition(text)[2]

    def left(self) -> int:
        """The exit code; the terminal is as it was."""
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        assert termios.tcgetattr(self._fd) == self.before
        os.close(self._fd)
        return code


def test_a_shell_in_this_terminal(house: Installation) -> None:
    shell = Terminal(house, "ssh", "web-1", "--reason", "ticket 42")
    shell.type(b"PS1='> '; echo $((40+2)); stty size\r")
    shell.shows(b"42\r\n31 101\r\n")
    shell.resize(111, 44)
    shell.type(b"until [ \"$(stty size)\" = '44 111' ]; do sleep 0.1; done; echo as lar''ge\r")
    shell.shows(b"as large")
    (session,) = house.boto("ssm").describe_sessions(State="Active")["Sessions"]
    assert session["Reason"] == "ticket 42"
    shell.type(b"echo wai''ts; sleep 1000\r")
    shell.shows(b"waits")
    killed_and_back(house)
    shell.type(b"\x03")
    shell.type(b"echo go''es on $?\r")
    shell.shows(b"goes on 130")
    shell.type(b"exit\r")
    shell.shows(b"has ended.")
    assert shell.left() == 0


def test_the_ways_out_of_a_shell_leave_the_terminal_as_it_was(house: Installation) -> None:
    escaped = Terminal(house, "ssh", "web-1")
    escaped.type(b"echo the''re\r")
    escaped.shows(b"there")
    escaped.type(b"~.")
    escaped.shows(b"Left.")
    assert escaped.left() == 0
    terminated = Terminal(house, "ssh", "web-1")
    terminated.type(b"echo the''re\r")
    terminated.shows(b"there")
    os.kill(terminated.pid, signal.SIGTERM)
    terminated.shows(b"Left.")
    assert terminated.left() == 143
    ended = Terminal(house, "ssh", "web-1")
    ended.type(b"echo the''re\r")
    ended.shows(b"there")
    (session_id,) = sessions(house, "Active")
    house.boto("ssm").terminate_session(SessionId=session_id)
    ended.shows(b"The session was terminated by ")
    assert ended.left() == 255


def test_a_program_in_a_terminal(house: Installation) -> None:
    program = Terminal(house, "exec", "-t", "web-1", "--", "sh", "-c", "stty size; read x; echo got $x; exit 5")
    program.shows(b"31 101")
    program.type(b"word\r")
    program.shows(b"got word")
    assert program.left() == 5


# cp


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """50 MB."""
    path = tmp_path_factory.mktemp("big") / "big"
    path.write_bytes(os.urandom(50_000_000))
    path.chmod(0o640)
    return path


def part_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob(".*part"))


@pytest.mark.parametrize("to_node", [True, False], ids=["to the node", "from the node"])
def test_a_copy_goes_on_over_a_kill_of_the_server(
    house: Installation, big: Path, tmp_path: Path, to_node: bool
) -> None:  # fmt: skip
    there = tmp_path / "copy"
    words = (big, f"web-1:{there}") if to_node else (f"web-1:{big}", there)
    before = sessions(house, "History")
    with begun(house, "cp", *words, "--output", "json", stdout=subprocess.PIPE) as copying:
        eventually(lambda: part_of(tmp_path) > 1_000_000, what="the first megabyte")
        house.kill()
        assert 1_000_000 < part_of(tmp_path) < 50_000_000
        house.start()
        assert copying.stdout is not None
        (node,) = json.loads(copying.stdout.read())["Nodes"]
        assert copying.wait(60) == 0
    assert digest(there) == digest(big) == node["Files"][0]["Sha256"]
    assert there.stat().st_mode & 0o777 == 0o640
    assert part_of(tmp_path) == 0
    eventually(lambda: len(sessions(house, "History")) == len(before) + 1, within=30, what="one session for all")


@pytest.mark.parametrize("to_node", [True, False], ids=["to the node", "from the node"])
def test_a_copy_that_was_killed_goes_on_where_it_was(
    house: Installation, big: Path, tmp_path: Path, to_node: bool
) -> None:  # fmt: skip
    there = tmp_path / "copy"
    words = (big, f"web-1:{there}") if to_node else (f"web-1:{big}", there)
    with begun(house, "cp", *words) as copying:
        eventually(lambda: part_of(tmp_path) > 1_000_000, what="the first megabyte")
        copying.kill()
    (session_id,) = sessions(house, "Active")
    house.boto("ssm").terminate_session(SessionId=session_id)  # the server would wait for the client
    done = asked(house, "cp", *words, "--output", "json")
    assert done.returncode == 0, done.stderr
    (file,) = json.loads(done.stdout)["Nodes"][0]["Files"]
    assert 1_000_000 < file["ResumedFrom"] < 50_000_000
    assert digest(there) == digest(big) == file["Sha256"]


def test_directories_go_to_many_nodes_and_come_back_from_them(house: Installation, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "sub" / "deep").mkdir(parents=True)
    (tree / "a b.txt").write_text("a")
    (tree / "sub" / "run.sh").write_text("#!/bin/sh\n")
    (tree / "sub" / "run.sh").chmod(0o755)
    (tree / "sub" / "deep" / "empty").touch()
    (tree / "link").symlink_to("a b.txt")
    there, here = tmp_path / "there", tmp_path / "here"
    done = asked(house, "cp", "-rp", "--targets", "Key=tag:Name,Values=web-1", tree, f":{there}")
    assert done.returncode == 0, done.stderr
    assert b"link: skipped: it is a link" in done.stderr
    assert (there / "sub" / "run.sh").stat().st_mode & 0o777 == 0o755
    assert int((there / "a b.txt").stat().st_mtime) == int((tree / "a b.txt").stat().st_mtime)
    done = asked(house, "cp", "-r", "--target", "tag:Env=Prod", f":{there}", here, "--output", "json")
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["Nodes"]) == 2
    for name in ("web-1", "web-2"):
        copied = here / name / "there"
        found = sorted(path.relative_to(copied).as_posix() for path in copied.rglob("*"))
        assert found == ["a b.txt", "sub", "sub/deep", "sub/deep/empty", "sub/run.sh"]


def test_one_node_that_fails_is_named_and_the_others_get_it(house: Installation, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content")
    both = ("--node", "web-1", "--node", "mi-0123456789abcdef0")
    code, text = said(house, "cp", *both, tmp_path / "file", f":{tmp_path}/to")
    assert code == 1
    assert "mi-0123456789abcdef0: there is no node" in text
    assert (tmp_path / "to").read_text() == "content"


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("/etc/hostname", "/tmp/x"), "NODE:PATH"),
        (("/etc", "web-1:/tmp"), "add -r"),
        (("/no/such", "web-1:/tmp"), "no such file here"),
        (("web-1:/no/such", "."), "no such file on the node"),
        (("web-1:/etc", "."), "is a directory; add -r"),
        (("/etc/passwd", "web-1:/no/such/place/x"), "No such file or directory"),
        (("/etc/passwd", ":/tmp/x"), "which nodes?"),
    ],
)
def test_what_cannot_be_copied_says_why(house: Installation, words: tuple[str, ...], why: str) -> None:
    code, text = said(house, "cp", *words)
    assert code == 1
    assert why in text


def test_no_node_fits(house: Installation) -> None:
    assert said(house, "cp", "--target", "tag:Env=None", "/etc/passwd", ":/tmp/x") == (3, "pilothouse: no node fits\n")


# forward


class Doubling(socketserver.BaseRequestHandler):
    """Answers each megabyte by its digest, then by itself."""

    def handle(self) -> None:
        file = self.request.makefile("rb")
        while size := file.read(4):
            data = file.read(int.from_bytes(size, "big"))
            self.request.sendall(hashlib.sha256(data).digest() + data)


@pytest.fixture
def service() -> Iterator[int]:
    """The port of a TCP service on the node's machine."""
    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Doubling)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


def talk(port: int, number: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), 60) as line:
        file = line.makefile("rb")
        for each in range(3):
            data = bytes([number + each]) * 700_000
            line.sendall(len(data).to_bytes(4, "big") + data)
            if file.read(32) != hashlib.sha256(data).digest() or file.read(len(data)) != data:
                return False
    return True


def listening(forwarding: subprocess.Popen[bytes]) -> tuple[int, bytes]:
    assert forwarding.stdout is not None
    line = forwarding.stdout.readline()
    return int(line.partition(b" ")[0].rpartition(b":")[2]), line


def test_many_connections_share_a_forwarded_port_over_a_kill_of_the_server(house: Installation, service: int) -> None:
    with begun(
        house, "forward", "web-1", service, "--local-port", 0, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as forwarding:  # fmt: skip
        port, line = listening(forwarding)
        assert line.startswith(f"127.0.0.1:{port} -> localhost:{service} at web-1 (mi-".encode())
        with ThreadPoolExecutor(10) as pool:
            talking = [pool.submit(talk, port, number) for number in range(10)]
            killed_and_back(house)
            assert all(each.result(120) for each in talking)
        code, text = said(house, "forward", "web-1", f"{port}:localhost:{service}")
        assert code == 1
        assert "is in use on this machine; add --local-port 0" in text
        forwarding.send_signal(signal.SIGINT)
        assert forwarding.wait(60) == 0
        assert forwarding.stderr is not None
        assert b": 10 connections, " in forwarding.stderr.read()


def test_a_port_beyond_the_node_that_nobody_serves(house: Installation, service: int) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nobody = closed.getsockname()[1]
        with begun(
            house, "forward", "web-1", f"0:127.0.0.1:{nobody}", f"0:localhost:{service}", stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as forwarding:  # fmt: skip
            ports = {line.split(b" ")[2]: port for port, line in (listening(forwarding), listening(forwarding))}
            with socket.create_connection(("127.0.0.1", ports[f"127.0.0.1:{nobody}".encode()]), 60) as line:
                assert line.recv(1) == b""
            assert forwarding.stderr is not None
            assert b"web-1 cannot connect to" in forwarding.stderr.readline()
            assert talk(ports[f"localhost:{service}".encode()], 3)
            forwarding.terminate()
            assert forwarding.wait(60) == 0
