"""The documents that users know by their names, run for real on machines of two families, packages and all."""

import functools
import hashlib
import http.server
import json
import os
import threading
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.installation import Installation, eventually, installation
from tests.acceptance.patched import DEBIAN, ROCKY
from tests.acceptance.roots import AptRepository, Root, RpmRepository, machine

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="roots of their own need root")

PLAYER = (
    "printf '#!/bin/sh\\necho played \"$@\" > /var/log/ph-played\\n' > /usr/bin/ansible-playbook; "
    "chmod 755 /usr/bin/ansible-playbook"
)
"""What the package of Ansible leaves behind."""
PLAYBOOK = "- hosts: all\n  tasks: []\n"


def debian(root: Root, folder: Path) -> None:
    """A machine with apt, whose repository has Ansible."""
    made = AptRepository(folder / "apt")
    made.publish("bookworm", made.package("ansible", "1.0", postinst=PLAYER), made.package("unzip", "6.0"))
    made.use(root, "bookworm")


def rocky(root: Root, folder: Path) -> None:
    """A machine with dnf and without apt, whose repository has Ansible."""
    root.run("rm -f /usr/bin/apt-get /usr/bin/dpkg-query; mkdir -p /var/lib/rpm")
    made = RpmRepository(folder / "rpm")
    made.package("ansible-core", "1.0", post=PLAYER)
    made.package("unzip", "6.0")
    shell = made.package("ph-shell", "1.0", provides="/bin/sh")
    made.publish()
    made.use(root)
    root.run(f"rpm -i --nodeps {made.folder}/{shell}")


FAMILIES = {"debian": (DEBIAN, debian, "apt-get"), "rocky": (ROCKY, rocky, "dnf")}


class Play:
    """All documents on one node; its files are those of `root`."""

    def __init__(self, house: Installation, root: Root, node_id: str, family: str) -> None:
        self._house, self._root, self._node_id, self._family = house, root, node_id, family
        self._ssm, self._s3 = house.boto("ssm"), house.boto("s3")
        self._web = f"http://127.0.0.1:{self._serve(house.folder / 'web')}"

    def _serve(self, folder: Path) -> int:
        """Files over HTTP, for nodes and the server."""
        folder.mkdir(exist_ok=True)
        (folder / "hello.sh").write_text('#!/bin/sh\necho "hello $*"\n')
        (folder / "play.yml").write_text(PLAYBOOK)
        for platform in ("debian", "rocky"):
            with zipfile.ZipFile(folder / f"{platform}.zip", "w") as archive:
                for script in ("install", "uninstall"):
                    archive.writestr(f"{script}.sh", f"echo {platform} {script} $SSM_mode >> /var/log/ph-tool")
        files = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
        self._files = http.server.ThreadingHTTPServer(("127.0.0.1", 0), files)
        threading.Thread(target=self._files.serve_forever, daemon=True).start()
        return self._files.server_port

    def close(self) -> None:
        self._files.shutdown()
        self._files.server_close()

    def _run(self, document: str, **parameters: list[str]) -> dict[str, dict[str, Any]]:
        """Each step that was not for another platform, by its name."""
        sent = self._ssm.send_command(InstanceIds=[self._node_id], DocumentName=document, Parameters=parameters)
        command_id = sent["Command"]["CommandId"]
        self._house.finished(command_id, self._node_id, within=120)
        (found,) = self._ssm.list_command_invocations(CommandId=command_id, Details=True)["CommandInvocations"]
        return {step["Name"]: step for step in found["CommandPlugins"] if "unsatisfied" not in step["Output"]}

    def _output(self, document: str, **parameters: list[str]) -> str:
        """All output of a document that must go well."""
        steps = self._run(document, **parameters)
        assert {step["Status"] for step in steps.values()} == {"Success"}, steps
        return "".join(step["Output"] for step in steps.values())

    def scripts(self) -> None:
        """Where the machine is, and scripts and files from elsewhere."""
        given = ["grep ^ID= /etc/os-release"]
        assert f'ID="{self._family}"' in self._output("AWS-RunShellScript", commands=given)
        self._s3.put_object(Bucket="things", Key="scripts/hello.sh", Body=b'#!/bin/sh\necho "objects $*"\n')
        source = json.dumps({"path": "https://s3.us-east-1.amazonaws.com/things/scripts/hello.sh"})
        assert "objects a 'b'" in self._output(
            "AWS-RunRemoteScript", sourceType=["S3"], sourceInfo=[source], commandLine=["sh hello.sh \"a 'b'\""]
        )
        self._output(
            "AWS-DownloadContent", sourceType=["S3"], sourceInfo=[source], destinationPath=["/opt/ph/"]
        )  # fmt: skip
        assert self._root.run("sh /opt/ph/hello.sh twice") == "objects twice\n"

    def documents(self) -> None:
        """A document of one's own, by one of AWS's."""
        steps = [{"action": "aws:runShellScript", "name": "say", "inputs": {"runCommand": ["echo {{ word }}"]}}]
        content = {"schemaVersion": "2.2", "parameters": {"word": {"type": "String"}}, "mainSteps": steps}
        self._ssm.create_document(Name="Say", Content=json.dumps(content), DocumentType="Command")
        given = {"documentParameters": [json.dumps({"word": "written"})]}
        assert "written" in self._output("AWS-RunDocument", sourceType=["SSMDocument"],
                                         sourceInfo=['{"name": "Say"}'], **given)  # fmt: skip

    def packages(self) -> None:
        """A package with an archive for each family."""
        folder = self._house.folder / "web"
        names = [f"{platform}.zip" for platform in ("debian", "rocky")]
        digests = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}
        manifest = {
            "schemaVersion": "2.0",
            "version": "1.0",
            "packages": {name.removesuffix(".zip"): {"_any": {"_any": {"file": name}}} for name in names},
            "files": {name: {"checksums": {"sha256": digest}} for name, digest in digests.items()},
        }
        source = {"Key": "SourceUrl", "Values": [self._web]}
        self._ssm.create_document(
            Name="Tool", Content=json.dumps(manifest), DocumentType="Package", Attachments=[source]
        )
        self._output("AWS-ConfigureAWSPackage", name=["Tool"], action=["Install"],
                     additionalArguments=['{"SSM_mode": "fast"}'])  # fmt: skip
        self._output("AWS-ConfigureAWSPackage", name=["Tool"], action=["Uninstall"])
        assert self._root.run("cat /var/log/ph-tool") == f"{self._family} install fast\n{self._family} uninstall\n"

    def playbooks(self, manager: str) -> None:
        """Ansible is installed by the machine's own package manager, then it plays."""
        self._root.run("! command -v ansible-playbook")
        self._s3.put_object(Bucket="things", Key="play/play.yml", Body=PLAYBOOK.encode())
        source = json.dumps({"path": "https://s3.us-east-1.amazonaws.com/things/play/"})
        given: dict[str, list[str]] = {
            "SourceType": ["S3"], "SourceInfo": [source], "PlaybookFile": ["play.yml"], "Check": ["True"],
            "ExtraVariables": ["a=$(id) b=2"],
        }  # fmt: skip
        refused = self._run("AWS-ApplyAnsiblePlaybooks", InstallDependencies=["False"], **given)
        assert "InstallDependencies is not True" in refused["runShellScript"]["Output"], refused
        self._output("AWS-ApplyAnsiblePlaybooks", InstallDependencies=["True"], **given)
        said = "played -i localhost, -c local --check -v -e a=$(id) b=2 play.yml\n"
        assert self._root.run("cat /var/log/ph-played") == said
        self._root.run(f"command -v {manager}")

    def inventory(self, count: str) -> None:
        """Gathered by an association, as many packages as the machine's own database has."""
        self._ssm.create_association(
            Name="AWS-GatherSoftwareInventory", Targets=[{"Key": "InstanceIds", "Values": [self._node_id]}],
            ScheduleExpression="rate(12 hours)", Parameters={"applications": ["Enabled"]},
        )  # fmt: skip

        def entries() -> list[Any]:
            pages: list[Any] = []
            token: dict[str, str] = {}
            while True:
                got = self._ssm.list_inventory_entries(
                    InstanceId=self._node_id, TypeName="AWS:Application", **token
                )  # fmt: skip
                pages += got["Entries"]
                if not got.get("NextToken"):
                    return pages
                token = {"NextToken": got["NextToken"]}

        eventually(entries, what="an inventory")
        wanted = int(self._root.run(count))
        assert len(entries()) == wanted > 0
        self._output("AWS-RefreshAssociation")


@contextmanager
def played(house: Installation, family: str) -> Iterator[Play]:
    """A machine of a family with its agent, and what plays on it."""
    release, prepare, _ = FAMILIES[family]
    with machine(house, house.folder, family, release=release) as (root, agent):
        prepare(root, house.folder)
        agent.start()
        house.connected(agent)
        play = Play(house, root, agent.node_id, family)
        try:
            yield play
        finally:
            play.close()


@pytest.mark.parametrize("family", FAMILIES)
def test_named_documents_run_on_each_family(family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PILOTHOUSE_OUTBOUND_ALLOW", "127.0.0.1/32")
    counts = {"debian": "dpkg-query -W -f '${db:Status-Abbrev}\\n' | grep -c '^ii'",
              "rocky": "rpm -qa --qf '%{NAME}\\n' | grep -vc ^gpg-pubkey"}  # fmt: skip
    with ExitStack() as held:
        house = held.enter_context(installation(tmp_path))
        house.boto("s3").create_bucket(Bucket="things")
        may = {"Effect": "Allow", "Principal": "*", "Action": ["s3:GetObject", "s3:ListBucket"],
               "Resource": ["arn:aws:s3:::things", "arn:aws:s3:::things/*"],
               "Condition": {"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}}}  # fmt: skip
        policy = json.dumps({"Version": "2012-10-17", "Statement": may})
        house.boto("s3").put_bucket_policy(Bucket="things", Policy=policy)
        play = held.enter_context(played(house, family))
        play.scripts()
        play.documents()
        play.packages()
        play.playbooks(FAMILIES[family][2])
        play.inventory(counts[family])
