"""aws:configurePackage on a real agent process, and the manifests it reads."""

import hashlib
import io
import json
import os
import signal
import stat
import zipfile
from pathlib import Path
from typing import Any

import pytest

from pilothouse_agent.plugins.configure_package.manifest import choose
from pilothouse_agent.plugins.configure_package.platforms import Platform, platform
from pilothouse_agent.plugins.supervisor import WorkFailed
from tests.agent.conftest import Agent
from tests.agent.fake_server import FakeServer, steps_command
from tests.agent.test_commands import exists
from tests.agent.test_run_document import results


def package(
    server: FakeServer, where: Path, version: str, scripts: dict[str, str], *, name: str = "tool", sha256: str = ""
) -> None:
    """Make a version of a package, and the default one of it."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for script, text in scripts.items():
            archive.writestr(script, text)
    file = f"{name}-{version}.zip"
    (where / file).write_bytes(packed.getvalue())
    server.files[f"/{file}"] = where / file
    facts = {"checksums": {"sha256": sha256 or hashlib.sha256(packed.getvalue()).hexdigest()}}
    manifest = {
        "schemaVersion": "2.0",
        "version": version,
        "packages": {"_any": {"_any": {"_any": {"file": file}}}},
        "files": {file: {**facts, "size": len(packed.getvalue())}},
    }
    answer = {
        "Content": json.dumps(manifest),
        "AttachmentsContent": [{"Name": file, "Url": f"{server.url}/{file}", "Size": len(packed.getvalue())}],
    }
    server.packages[name] = server.packages[f"{name}:{version}"] = answer


def scripts(log: Path, version: str, **changed: str) -> dict[str, str]:
    """Scripts that note what they did."""
    made = {f"{name}.sh": f"echo {name} {version} $SSM_mode >> {log}" for name in ("install", "uninstall", "validate")}
    return {**made, "data/payload": version, **{f"{name}.sh": text for name, text in changed.items()}}


def configuring(action: str, **inputs: Any) -> dict[str, Any]:
    return {"action": "aws:configurePackage", "inputs": {"name": "tool", "action": action, **inputs}}


def done(log: Path) -> list[str]:
    lines = log.read_text().splitlines() if log.exists() else []
    log.unlink(missing_ok=True)
    return [line.strip() for line in lines]


async def test_installing_updating_and_removing(server: FakeServer, agent: Agent, tmp_path: Path) -> None:
    log = tmp_path / "done"
    in_place = {"installationType": "In-place update"}
    package(server, tmp_path, "1.0", scripts(log, "1.0"))
    await agent.online()
    seen = await results(
        server,
        agent,
        configuring("Install", additionalArguments={"SSM_mode": "fast; $(id)"}),
        configuring("Install"),
        configuring("Uninstall", version="9"),
    )
    assert [step["status"] for step in seen.values()] == ["Success"] * 3
    assert done(log) == ["install 1.0 fast; $(id)", "validate 1.0 fast; $(id)", "validate 1.0"]
    assert "Initiating tool 1.0 install" in seen["step0"]["standardOutput"]
    assert "Successfully installed tool 1.0" in seen["step0"]["standardOutput"]
    assert "tool 1.0 is already installed" in seen["step1"]["standardOutput"]
    assert "tool 9 is not installed" in seen["step2"]["standardOutput"]

    package(server, tmp_path, "2.0", scripts(log, "2.0"))
    package(server, tmp_path, "3.0", scripts(log, "3.0", update=f"echo update 3.0 >> {log}"))
    seen = await results(
        server,
        agent,
        configuring("Install", version="2.0"),
        configuring("Install", version="3.0", **in_place),
        configuring("Install", version="1.0", **in_place),
        configuring("Uninstall"),
        configuring("Uninstall"),
    )
    assert [step["status"] for step in seen.values()] == ["Success", "Success", "Failed", "Success", "Success"]
    assert done(log) == ["uninstall 1.0", "install 2.0", "validate 2.0", "update 3.0", "validate 3.0", "uninstall 3.0"]
    assert "missing update script" in seen["step2"]["standardError"]
    (home,) = (agent.state / "packages").iterdir()
    assert sorted(path.name for path in (home / "versions").iterdir() if path.is_dir()) == ["1.0"]


async def test_what_fails_goes_back_to_what_was_there(server: FakeServer, agent: Agent, tmp_path: Path) -> None:
    log = tmp_path / "done"
    package(server, tmp_path, "1.0", scripts(log, "1.0"))
    package(server, tmp_path, "2.0", scripts(log, "2.0", install=f"echo install 2.0 >> {log}; exit 5"))
    package(server, tmp_path, "forged", scripts(log, "forged"), sha256="0" * 64)
    package(server, tmp_path, "evil", {"../../../escape.sh": "x", **scripts(log, "evil")})
    server.packages["elsewhere"] = {**server.packages["tool"], "AttachmentsContent": []}
    await agent.online()
    seen = await results(
        server,
        agent,
        configuring("Install", version="1.0"),
        configuring("Install", version="2.0"),
        configuring("Install", version="forged"),
        configuring("Install", version="evil"),
        configuring("Install", name="elsewhere"),
        configuring("Install", name="missing"),
        configuring("Upgrade"),
        configuring("Install", additionalArguments={"PATH": "/tmp"}),
    )
    assert [step["status"] for step in seen.values()] == ["Success"] + ["Failed"] * 7
    assert done(log) == [
        "install 1.0", "validate 1.0",
        "uninstall 1.0", "install 2.0", "uninstall 2.0", "install 1.0", "validate 1.0",
    ]  # fmt: skip
    reasons = [str(step["standardError"]) for step in seen.values()]
    assert "install of 2.0 ended with code 5" in reasons[1]
    assert "successfully rolled back to 1.0" in reasons[1]
    assert "size or SHA-256 differ. Nothing was changed" in reasons[2]
    assert "a name that is not allowed" in reasons[3]
    assert "has no attachment" in reasons[4]
    assert "InvalidDocument" in reasons[5]
    assert "unsupported action: Upgrade" in reasons[6]
    assert '"SSM_" prefix' in reasons[7]


async def test_an_installation_goes_on_where_it_was_interrupted(
    server: FakeServer, agent: Agent, tmp_path: Path
) -> None:
    """Agent, supervisor and worker are killed in the middle; what was done is not done again."""
    log = tmp_path / "done"
    package(server, tmp_path, "1.0", scripts(log, "1.0"))
    slow = f"echo install 2.0 >> {log}; test -e {tmp_path}/go || {{ touch {tmp_path}/began; sleep 300; }}"
    await agent.online()
    await results(server, agent, configuring("Install"))
    package(server, tmp_path, "2.0", scripts(log, "2.0", install=slow))
    job = await server.send(agent.instance_id, steps_command([{"name": "update", **configuring("Install")}]))
    await exists(tmp_path / "began")
    agent.kill()
    os.kill(int(agent.file(job, "steps/0/0/lock").read_text()), signal.SIGKILL)
    await server.until(lambda: not server.is_online(agent.instance_id))
    (tmp_path / "go").touch()
    server.packages.clear()
    package(server, tmp_path, "2.0", scripts(log, "2.0", install=slow))
    await agent.online()
    final = await server.final_reply(job)
    assert final.content["documentStatus"] == "Success"
    assert done(log) == [
        "install 1.0", "validate 1.0", "uninstall 1.0", "install 2.0", "install 2.0", "validate 2.0",
    ]  # fmt: skip


async def test_a_package_that_wants_a_reboot_goes_on_after_it(server: FakeServer, agent: Agent, tmp_path: Path) -> None:
    log = tmp_path / "done"
    (tmp_path / "shutdown").write_text(f"#!/bin/sh\ntouch {tmp_path}/shut-down\n")
    (tmp_path / "shutdown").chmod(0o755)
    agent.environment["PATH"] = f"{tmp_path}:{os.environ['PATH']}"
    package(server, tmp_path, "1.0", scripts(log, "1.0", install=f"echo install >> {log}; exit 194"))
    agent.start("--allow-reboot")
    await server.online(agent.instance_id)
    job = await server.send(agent.instance_id, steps_command([{"name": "one", **configuring("Install")}]))
    await exists(tmp_path / "shut-down")
    agent.kill()
    note = agent.file(job, "steps/0/0.reboot.json")
    note.write_text(note.read_text().replace('"boot":"', '"boot":"another-'))
    agent.start("--allow-reboot")
    final = await server.final_reply(job)
    assert final.content["documentStatus"] == "Success"
    assert done(log) == ["install", "validate 1.0"]


HERE = Platform(name="debian", version="12.4", architecture="x86_64")


def manifest(packages: Any, **changed: Any) -> str:
    files = {name: {"checksums": {"sha256": name * 64}, "size": 1} for name in "abc"}
    return json.dumps({"schemaVersion": "2.0", "version": "1.0", "packages": packages, "files": files, **changed})


@pytest.mark.parametrize(
    ("packages", "file"),
    [
        ({"_any": {"_any": {"_any": {"file": "a"}}}}, "a"),
        ({"_any": {"_any": {"_any": {"file": "a"}}}, "debian": {"12*": {"x86_64": {"file": "b"}}}}, "b"),
        ({"debian": {"12.4": {"_any": {"file": "a"}}, "12*": {"x86_64": {"file": "b"}}}}, "a"),
        ({"debian": {"1*": {"_any": {"file": "a"}}, "12*": {"_any": {"file": "c"}}}}, "c"),
        ({"ubuntu": {"_any": {"_any": {"file": "a"}}}}, None),
        ({"debian": {"_any": {"arm64": {"file": "a"}}}}, None),
        ({"_any": {"_any": {"_any": {"file": "z"}}}}, None),
        ({"_any": []}, None),
        ([], None),
    ],
)
def test_the_file_for_this_machine(packages: Any, file: str | None) -> None:
    if file is None:
        with pytest.raises(WorkFailed):
            choose(manifest(packages), HERE)
    else:
        assert choose(manifest(packages), HERE).file == file


@pytest.mark.parametrize("changed", [{"version": "../x"}, {"version": ".."}, {"schemaVersion": "1"}, {"files": {}}])
def test_manifests_that_are_refused(changed: Any) -> None:
    with pytest.raises(WorkFailed):
        choose(manifest({"_any": {"_any": {"_any": {"file": "a"}}}}, **changed), HERE)


def test_archives_that_are_refused(tmp_path: Path) -> None:
    from pilothouse_agent.plugins.configure_package.repository import Repository

    packed = tmp_path / "p.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        link = zipfile.ZipInfo("link")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    repository = Repository(tmp_path / "packages", "name/../x")
    with pytest.raises(WorkFailed, match="holds a link"):
        repository.unpack(packed, "1", "", 1_000)
    with pytest.raises(WorkFailed, match="no zip archive"):
        repository.unpack(Path(__file__), "1", "", 1_000)
    assert not repository.directory("1").exists()


@pytest.mark.parametrize(
    ("release", "known"),
    [
        ('ID="rhel"\nID_LIKE="fedora"\nVERSION_ID="9.4"', ("redhat", "9.4", "rhel", "yum")),
        ('ID="rocky"\nID_LIKE="rhel centos fedora"\nVERSION_ID="9.4"', ("rocky", "9.4", "rhel", "yum")),
        ('ID="ol"\nID_LIKE="fedora"\nVERSION_ID="8.9"', ("oracle", "8.9", "rhel", "yum")),
        ('ID="amzn"\nVERSION_ID="2023"', ("amazon", "2023", "rhel", "yum")),
        ("ID=fedora\nVERSION_ID=40", ("fedora", "40", "fedora", "dnf")),
        ("NAME=SLES\nID=sles\nVERSION_ID=15.5", ("suse", "15.5", "suse", "zypper")),
        ('NAME="openSUSE Leap"\nID="opensuse-leap"\nVERSION_ID="15.6"', ("opensuseleap", "15.6", "suse", "zypper")),
        ("ID=ubuntu\nID_LIKE=debian\nVERSION_ID=24.04", ("ubuntu", "24.04", "debian", "apt")),
        ("ID=linuxmint\nID_LIKE='ubuntu debian'\nVERSION_ID=21", ("linuxmint", "21", "debian", "apt")),
        ("ID=nixos\nVERSION_ID=24.05", ("nixos", "24.05", "", "")),
    ],
)
def test_distributions_have_the_names_that_packages_know(
    tmp_path: Path, release: str, known: tuple[str, ...]
) -> None:  # fmt: skip
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/os-release").write_text(release + "\n")
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    found = platform(tmp_path, "aarch64")
    assert (found.name, found.version, found.family, found.package_manager) == known
    assert (found.architecture, found.init) == ("arm64", "systemd")
