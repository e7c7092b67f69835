"""`pilothouse sign-in` against a real server: what it asks for, what it prints, and that AWS programs take it."""

import contextlib
import json
import os
import pty
import re
import select
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pilothouse.cli.connections import Clients, Side
from pilothouse.runtime.clock import SystemClock
from tests.acceptance.installation import BIN, Installation, installation
from tests.capabilities.access.issuer import Issuer, issuing
from tests.capabilities.access.policies import document

FIRST, SECOND = "first Password 1", "second Password 2"


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Issuer]:
    folder = tmp_path_factory.mktemp("issuer")
    with issuing(folder) as found:
        found.clock = SystemClock()
        found.secret = None
        found.folder = folder  # type: ignore[attr-defined]
        yield found


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer) -> Iterator[Installation]:
    folder = tmp_path_factory.mktemp("sign-in")
    (folder / "data").mkdir(mode=0o700)
    ca = Path(issuer.folder) / "ca.pem"  # type: ignore[attr-defined]
    (folder / "data" / "pilothouse.toml").write_text(
        f'[outbound]\nallow = ["127.0.0.1/32"]\nca_file = "{ca}"\n', "utf-8"
    )
    with installation(folder) as made:
        yield made


def without_credentials(house: Installation) -> dict[str, str]:
    found = house.environment()
    return {**{name: value for name, value in found.items() if "KEY" not in name}, "COLUMNS": "120", "TERM": "dumb"}


def sign_in(house: Installation, *words: str, typed: str = "", code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [BIN / "pilothouse", "sign-in", *words],
        env=without_credentials(house), input=typed, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


def answered(house: Installation, words: list[str], answers: list[str]) -> str:
    """All that a terminal showed while each question was answered."""
    environment = without_credentials(house)  # before the fork: it starts a process itself
    child, terminal = pty.fork()
    if child == 0:
        os.execvpe(str(BIN / "pilothouse"), ["pilothouse", "sign-in", *words], environment)
    shown, asked = b"", 0
    with contextlib.suppress(OSError):  # how a terminal says that nobody is left
        while select.select([terminal], [], [], 60)[0]:
            read = os.read(terminal, 4096)
            if not read:
                break
            shown += read
            if shown[asked:].endswith(b": ") and answers:
                asked = len(shown)
                os.write(terminal, answers.pop(0).encode() + b"\n")
    os.kill(child, signal.SIGTERM)  # if it still waits for an answer; one that has ended is not yet gone
    _, status = os.waitpid(child, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 0, shown.decode()
    assert not answers
    return shown.decode()


def whoami(house: Installation, values: dict[str, str]) -> str:
    done = subprocess.run(
        [BIN / "aws", "sts", "get-caller-identity", "--output", "json"],
        env={**without_credentials(house), **values}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return str(json.loads(done.stdout)["Arn"])


def credentials(text: str) -> dict[str, str]:
    """Of --output json."""
    found: dict[str, Any] = json.loads(text)
    return {name: found[name] for name in found if name.startswith("AWS_")}


def test_a_person_is_asked_for_what_is_needed(house: Installation) -> None:
    iam = house.boto("iam")
    arn = iam.create_user(UserName="ada")["User"]["Arn"]
    iam.create_login_profile(UserName="ada", Password=FIRST, PasswordResetRequired=True)
    shown = answered(house, ["--output", "json"], ["ada", FIRST, SECOND, SECOND])
    assert f"Signed in as {arn} until " in shown
    assert FIRST not in shown
    assert SECOND not in shown
    assert whoami(house, credentials(shown[shown.index("{") :])) == arn


def test_programs_take_what_it_prints(house: Installation, tmp_path: Path) -> None:
    iam = house.boto("iam")
    arn = iam.create_user(UserName="grace")["User"]["Arn"]
    iam.create_login_profile(UserName="grace", Password=FIRST)
    words = ["--user", "grace", "--password-stdin"]
    done = sign_in(house, *words, "--seconds", "900", typed=FIRST + "\n")
    assert all(each.startswith(("export AWS_", "unset AWS_PROFILE")) for each in done.stdout.splitlines())
    assert FIRST not in done.stdout + done.stderr
    file = tmp_path / "config"
    command = f"sh -c \"echo '{FIRST}' | {BIN}/pilothouse sign-in {' '.join(words)} --output process\""
    file.write_text(f"[profile work]\ncredential_process = {command}\n")
    assert whoami(house, {"AWS_CONFIG_FILE": str(file), "AWS_PROFILE": "work"}) == arn


@pytest.mark.parametrize(
    ("words", "typed", "said"),
    [
        (["--user", "nobody", "--password-stdin"], "x\n", "is not right"),
        (["--user", "linus", "--password-stdin"], FIRST + "\n", "A new password is needed"),
        (["--output", "yaml"], "", "use shell, json or process"),
        (["--role", "arn:aws:iam::123456789012:role/x"], "", "--role goes with --provider"),
        (["--provider", "none"], "", "no such provider"),
        (["--endpoint-url", "http://127.0.0.1:1", "--user", "x", "--password-stdin"], "x\n", "is the server running"),
    ],
)
def test_a_failure_is_one_sentence(house: Installation, words: list[str], typed: str, said: str) -> None:
    iam = house.boto("iam")
    with contextlib.suppress(iam.exceptions.EntityAlreadyExistsException):
        iam.create_user(UserName="linus")
        iam.create_login_profile(UserName="linus", Password=FIRST, PasswordResetRequired=True)
    done = sign_in(house, *words, typed=typed, code=1)
    assert done.stderr.startswith("pilothouse: ")
    assert said in done.stderr
    assert done.stdout == ""


def test_a_browser_comes_back_from_the_identity_provider(house: Installation, issuer: Issuer) -> None:
    iam = house.boto("iam")
    provider = iam.create_open_id_connect_provider(Url=issuer.url, ClientIDList=["console"])["OpenIDConnectProviderArn"]
    trust = {"Effect": "Allow", "Action": "sts:AssumeRoleWithWebIdentity", "Principal": {"Federated": provider}}
    condition = {"StringEquals": {f"{provider.partition('/')[2]}:sub": "u-17"}}
    role = iam.create_role(RoleName="people", AssumeRolePolicyDocument=document(trust | {"Condition": condition}))
    own = Clients(Side(data=house.data)).service("pilothouse")
    own.put_sign_in_provider(
        Name="work", OpenIDConnectProviderArn=provider, ClientId="console", RoleArns=[role["Role"]["Arn"]]
    )
    command = [BIN / "pilothouse", "sign-in", "--provider", "work", "--no-browser", "--output", "json"]
    with subprocess.Popen(
        command, env=without_credentials(house), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stderr is not None
        found = re.search(r"https://\S+", running.stderr.readline())
        assert found is not None
        back = issuer.sent(found[0], aud="console", sub="u-17", preferred_username="ada")
        uri = next(iter(issuer.codes.values()))[0]["redirect_uri"]
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(uri.replace("callback", "favicon.ico"), timeout=10)
        with urllib.request.urlopen(f"{uri}?code={back['Code']}&state={back['State']}", timeout=10) as page:
            assert b"Go back to the terminal" in page.read()
        out, err = running.communicate(timeout=60)
    assert running.returncode == 0, err
    assert whoami(house, credentials(out)).endswith(":assumed-role/people/ada")
