"""aws:softwareInventory and aws:refreshAssociation on a real agent process, and what the gatherers make of texts."""

import base64
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse_agent.plugins.inventory.applications import of_apk, of_dpkg, of_rpm, of_snap
from pilothouse_agent.plugins.inventory.files import BadFilter, custom, files
from pilothouse_agent.plugins.inventory.hardware import (
    detailed_information,
    network,
    of_if_inet6,
    of_lscpu,
    of_resolv_conf,
    of_routes,
)
from pilothouse_agent.plugins.inventory.running import processes
from pilothouse_agent.plugins.inventory.systemd import services
from tests.agent.conftest import Agent
from tests.agent.fake_server import FakeServer
from tests.agent.test_run_document import results

DPKG = (
    "bash\x1fA Maintainer <maintainer@example.org>\x1f5.2.15-2+b7\x1fshells\x1famd64\x1fhttp://example.org/bash\x1f"
    "GNU Bourne Again SHell\x1finstalled\x1eold\x1fX\x1f1\x1futils\x1fall\x1f\x1fgone\x1fconfig-files\x1e"
)
RPM = (
    "bash\x1fRed Hat, Inc.\x1f5.1.8\x1f9.el9\x1f(none)\x1f1700000000\x1fUnspecified\x1faarch64\x1fhttps://example.org\x1f"
    "The GNU Bourne \"Again\" shell\nsecond line\x1fbash-5.1.8-9.el9.src.rpm\x1e"
)  # fmt: skip


def inventory(**inputs: str) -> dict[str, Any]:
    return {"action": "aws:softwareInventory", "inputs": inputs}


async def test_inventory_is_sent_and_repeated_without_its_content(
    server: FakeServer, agent: Agent, tmp_path: Path
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in (("dpkg-query", DPKG), ("rpm", RPM)):
        (tmp_path / name).write_text(text)
        (programs / name).write_text(f"#!/bin/sh\ncat {tmp_path}/{name}\n")
        (programs / name).chmod(0o755)
    agent.environment["PATH"] = f"{programs}:{os.environ['PATH']}"
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/a.conf").write_text("x" * 10)
    (tmp_path / "etc/b.txt").write_text("no")
    (tmp_path / "custom").mkdir()
    rack = {"TypeName": "Custom:Rack", "SchemaVersion": "1.0", "Content": {"Room": "A", "Shelf": "7"}}
    (tmp_path / "custom/rack.json").write_text(json.dumps(rack))
    (tmp_path / "custom/bad.json").write_text(json.dumps({**rack, "TypeName": "AWS:Application"}))
    asked = inventory(
        applications="Enabled",
        awsComponents="Enabled",
        networkConfig="Enabled",
        instanceDetailedInformation="Enabled",
        windowsUpdates="Enabled",
        files=json.dumps([{"Path": f"{tmp_path}/etc", "Pattern": ["*.conf"], "Recursive": False}]),
        customInventory="Enabled",
        customInventoryDirectory=str(tmp_path / "custom"),
    )
    await agent.online()
    seen = await results(server, agent, asked, asked, inventory(applications="Disabled"))
    assert [step["status"] for step in seen.values()] == ["Success"] * 3
    assert "collected inventory data has been uploaded" in seen["step0"]["standardOutput"]
    assert "AWS:Application: 2 entries" in seen["step0"]["standardOutput"]
    assert "bad.json: TypeName must begin with Custom:" in seen["step0"]["standardError"]
    assert "there is no inventory data to upload" in seen["step2"]["standardOutput"]
    first, second = [call.body["Items"] for call in server.calls if call.operation == "PutInventory"]
    kinds = {item["TypeName"]: item for item in first}
    assert set(kinds) == {
        "AWS:Application", "AWS:AWSComponent", "AWS:Network", "AWS:InstanceDetailedInformation", "AWS:File",
        "Custom:Rack",
    }  # fmt: skip
    assert [(one["Name"], one["Architecture"]) for one in kinds["AWS:Application"]["Content"]] == [
        ("bash", "arm64"), ("bash", "x86_64"),
    ]  # fmt: skip
    assert kinds["AWS:File"]["Content"][0]["Name"] == "a.conf"
    assert kinds["AWS:File"]["Content"][0]["Size"] == "10"
    assert kinds["Custom:Rack"]["Content"] == [{"Room": "A", "Shelf": "7"}]
    text = json.dumps(kinds["AWS:File"]["Content"], separators=(",", ":")).encode()
    assert kinds["AWS:File"]["ContentHash"] == base64.b64encode(hashlib.md5(text).digest()).decode()
    assert all("Content" not in item for item in second)

    server.inventory.clear()  # the server has forgotten: it is sent in full again
    seen = await results(server, agent, asked)
    assert seen["step0"]["status"] == "Success"
    assert server.inventory["AWS:Application"]["Content"] == kinds["AWS:Application"]["Content"]


async def test_an_inventory_that_is_refused_fails_the_step(server: FakeServer, agent: Agent) -> None:
    await agent.online()
    seen = await results(
        server,
        agent,
        inventory(files="[{}]"),
        inventory(files='[{"Path": "/usr", "Pattern": ["*"], "Recursive": true, "DirScanLimit": 3}]'),
        {"action": "aws:refreshAssociation", "inputs": {}},
        {"action": "aws:refreshAssociation", "inputs": {"associationIds": ["11111111-1111-1111-1111-111111111111"]}},
    )
    assert [step["status"] for step in seen.values()] == ["Failed", "Failed", "Success", "Failed"]
    assert "needs Path and Pattern" in seen["step0"]["standardError"]
    assert "Limit Exceeded" in seen["step1"]["standardError"]
    assert "All associations have been requested" in seen["step2"]["standardOutput"]
    assert "this node has no association 11111111" in seen["step3"]["standardError"]


def test_packages(tmp_path: Path) -> None:
    (tmp_path / "bash:amd64.list").touch()
    os.utime(tmp_path / "bash:amd64.list", (1_700_000_000, 1_700_000_000))
    assert of_dpkg(DPKG, tmp_path) == [
        {
            "Name": "bash", "Publisher": "A Maintainer <maintainer@example.org>", "Version": "5.2.15-2+b7",
            "ApplicationType": "shells", "Architecture": "x86_64", "URL": "http://example.org/bash",
            "Summary": "GNU Bourne Again SHell", "PackageId": "bash_5.2.15-2+b7_amd64.deb",
            "InstalledTime": "2023-11-14T22:13:20Z",
        }
    ]  # fmt: skip
    assert of_rpm(RPM) == [
        {
            "Name": "bash", "Publisher": "Red Hat, Inc.", "Version": "5.1.8", "Release": "9.el9",
            "InstalledTime": "2023-11-14T22:13:20Z", "ApplicationType": "Unspecified", "Architecture": "arm64",
            "URL": "https://example.org", "Summary": 'The GNU Bourne "Again" shell',
            "PackageId": "bash-5.1.8-9.el9.src.rpm",
        }
    ]  # fmt: skip
    snap = {
        "name": "core", "version": "16-2.43.3", "publisher": {"username": "canonical"}, "summary": "a\nb",
        "install-date": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    assert of_snap(json.dumps({"result": [snap, "x", {}]})) == [
        {
            "Name": "core", "Publisher": "canonical", "Version": "16-2.43.3", "ApplicationType": "admin",
            "Architecture": "", "InstalledTime": "2026-01-01T00:00:00Z", "Summary": "a",
            "PackageId": "pkg:snap/canonical/core@16-2.43.3",
        }
    ]  # fmt: skip
    apk = "C:Q1x\nP:musl\nV:1.2.4-r2\nA:x86_64\nT:the libc: small\nU:https://example.org\no:musl\nF:lib\n\nP:x\n\n"
    assert of_apk(apk) == [
        {
            "Name": "musl", "Version": "1.2.4-r2", "Architecture": "x86_64", "Summary": "the libc: small",
            "URL": "https://example.org", "Publisher": "", "PackageId": "musl-1.2.4-r2.apk",
        }
    ]  # fmt: skip


def test_programs_that_run_are_named_without_their_arguments() -> None:
    """Others of the same name may run, of another root."""
    mine = os.readlink("/proc/self/exe")
    (found,) = [entry for entry in processes() if entry["CommandLine"] == mine]
    assert found["FileName"] == Path(mine).name
    assert found["StartTime"].startswith("20")


@given(st.text(alphabet="a\x1f\x1e\n(no e)1PV:", max_size=120))
def test_any_text_of_a_package_manager_is_read(text: str) -> None:
    for entry in [*of_dpkg(text, Path("/nowhere")), *of_rpm(text), *of_snap(text), *of_apk(text)]:
        assert all(isinstance(value, str) and "\n" not in value for value in entry.values())


def test_the_machine() -> None:
    fields = {"CPU(s):": "4", "CPU MHz:": "2400.072"}
    inner = {"Thread(s) per core:": "2", "Core(s) per socket:": "2", "Socket(s):": "1"}
    model = {
        "field": "Model name:", "data": "Some(R) CPU @ 2.40GHz",
        "children": [{"field": name, "data": value} for name, value in inner.items()],
    }  # fmt: skip
    text = json.dumps({"lscpu": [model, *({"field": name, "data": value} for name, value in fields.items())]})
    assert of_lscpu(text, "6.1.0") == {
        "CPUModel": "Some(R) CPU @ 2.40GHz", "CPUSpeedMHz": "2400", "CPUs": "4", "CPUSockets": "1", "CPUCores": "2",
        "CPUHyperThreadEnabled": "true", "OSServicePack": "", "KernelVersion": "6.1.0",
    }  # fmt: skip
    routes = (
        "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n"
        "eth0 00000000 0100A8C0 0003 0 0 0 00000000 0 0 0\neth0 0000A8C0 00000000 0001 0 0 0 00FFFFFF 0 0 0\n"
    )
    assert of_routes(routes) == {"eth0": "192.168.0.1"}
    sixes = (
        "fe80000000000000021122fffe334455 02 40 20 80 eth0\n20010db8000000000000000000000001 02 40 00 80 eth0\n"
        "00000000000000000000000000000001 01 80 10 80 lo\n"
    )
    assert of_if_inet6(sixes) == {"eth0": "2001:db8::1", "lo": "::1"}
    assert of_resolv_conf("# x\nnameserver 192.0.2.1\nsearch a\nnameserver 2001:db8::53\n") == [
        "192.0.2.1", "2001:db8::53",
    ]  # fmt: skip
    assert all(entry["Name"] != "lo" for entry in network())
    assert all(entry["KernelVersion"] == os.uname().release for entry in detailed_information())


SYSTEMCTL = r"""#!/bin/sh
cd "$(dirname "$0")"
case $1 in
list-*) cat "$1" ;;
show)
    while [ "$1" != -- ]; do shift; done
    shift
    for name; do
        cat "$name" 2>/dev/null || printf 'Id=%s\nLoadState=not-found\nActiveState=inactive\n' "$name"
        echo
    done ;;
esac
"""
UNITS = r"""
ssh.service                 loaded    active     running OpenBSD Secure Shell server
shop-db.service             loaded    active     running Shop database
shop-web.service            loaded    activating start   Shop web: needs = the database
shop-worker@a\x2db.service  loaded    active     running Worker
auditd.service              not-found inactive   dead    auditd.service
"""
UNIT_FILES = """
shop-db.service        enabled  enabled
shop-idle.service      disabled enabled
shop-masked.service    masked   enabled
shop-worker@.service   static   -
ssh.service            enabled  enabled
sshd.service           alias    -
"""
SHOWN = {
    "ssh": ("ssh", "OpenBSD Secure Shell server", "loaded", "active", "system.slice", "notify", "enabled"),
    "sshd": ("ssh", "OpenBSD Secure Shell server", "loaded", "active", "system.slice", "notify", "enabled"),
    "shop-db": ("shop-db", "Shop database", "loaded", "active", "system.slice", "simple", "enabled"),
    "shop-web": (
        "shop-web", "Shop web: needs = the database", "loaded", "activating",
        r'"shop-worker@a\\x2db.service" shop-db.service system.slice' + "\nBindsTo=shop-idle.service",
        "exec", "enabled",
    ),
    r"shop-worker@a\x2db": (
        r"shop-worker@a\x2db", "Worker", "loaded", "active", r'"system-shop\\x2dworker.slice"', "simple", "static",
    ),
    "shop-idle": ("shop-idle", "Idle", "loaded", "inactive", "", "simple", "disabled"),
    "shop-masked": ("shop-masked", "shop-masked.service", "masked", "inactive", "", "", "masked"),
}  # fmt: skip
"""As systemd 252 says it of a machine with one service of each kind."""


def test_services_are_what_is_installed_whether_it_is_loaded_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not what other units merely speak of; what they depend on are services, by the names that the entries have."""
    (tmp_path / "list-units").write_text(UNITS.lstrip())
    (tmp_path / "list-unit-files").write_text(UNIT_FILES.lstrip())
    named = ("Id={}.service", "Description={}", "LoadState={}", "ActiveState={}", "Requires={}", "Type={}")
    for name, values in SHOWN.items():
        lines = [line.format(value) for line, value in zip((*named, "UnitFileState={}"), values, strict=True)]
        (tmp_path / f"{name}.service").write_text("\n".join(lines) + "\n")
    program = tmp_path / "systemctl"
    program.write_text(SYSTEMCTL)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    members = ("Name", "Status", "StartType", "ServiceType", "ServicesDependedOn", "DependentServices")
    worker = r"shop-worker@a\x2db"
    assert [tuple(entry[member] for member in members) for entry in services()] == [
        ("shop-db", "Running", "enabled", "simple", "", "shop-web"),
        ("shop-idle", "Stopped", "disabled", "simple", "", "shop-web"),
        ("shop-masked", "Stopped", "masked", "", "", ""),
        ("shop-web", "StartPending", "enabled", "exec", f"shop-db shop-idle {worker}", ""),
        (worker, "Running", "static", "simple", "", "shop-web"),
        ("ssh", "Running", "enabled", "notify", "", ""),
    ]
    assert services()[3]["DisplayName"] == "Shop web: needs = the database"
    program.write_text("#!/bin/sh\nexit 1\n")  # systemd does not run
    assert services() == []


@pytest.mark.skipif(os.geteuid() != 0, reason="a network of its own is made by root")
def test_interfaces_are_those_of_the_network_that_the_agent_is_in() -> None:
    """Not of /sys, which still shows the other one, as in a container that has the host's."""
    says = "import json; from pilothouse_agent.plugins.inventory.hardware import network; print(json.dumps(network()))"
    script = """
        ip link set lo up
        ip link add ph0 type veth peer name ph1
        ip link set ph1 address 02:00:5e:00:00:08
        ip link set ph0 address 02:00:5e:00:00:07 up
        ip address add 198.51.100.7/24 dev ph0
        ip address add 2001:db8::7/64 dev ph0 nodad
        exec "$@"
    """
    told = subprocess.run(
        ["unshare", "--net", "sh", "-ec", script, "sh", sys.executable, "-c", says],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert json.loads(told.stdout) == [
        {"Name": "ph0", "SubnetMask": "255.255.255.0", "MacAddress": "02:00:5e:00:00:07", "IPV4": "198.51.100.7",
         "IPV6": "2001:db8::7"},
        {"Name": "ph1", "MacAddress": "02:00:5e:00:00:08", "IPV4": "", "IPV6": ""},
    ]  # fmt: skip


def test_files_and_custom_types_keep_their_limits(tmp_path: Path) -> None:
    for number in range(501):
        (tmp_path / f"{number}.x").touch()
    with pytest.raises(BadFilter, match="File Count Limit"):
        files(json.dumps([{"Path": str(tmp_path), "Pattern": ["*"], "Recursive": False}]))
    assert len(files(json.dumps([{"Path": str(tmp_path), "Pattern": ["1*.x", "2*.x"]}]))) == 222
    (tmp_path / "no.json").write_text("{")
    wide = {str(number): "x" for number in range(51)}
    (tmp_path / "wide.json").write_text(json.dumps({"TypeName": "Custom:W", "SchemaVersion": "1.0", "Content": wide}))
    assert custom(tmp_path) == {}
