"""Machines of their own inside this one: a root that nobody else sees, with an agent in it.

A root is the file system of this machine with a layer of its own above it, in a mount namespace of its own: packages
that are installed there are seen and changed nowhere else. It needs root, as patching does.
"""

import contextlib
import hashlib
import os
import shutil
import subprocess
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.acceptance.installation import BIN, AgentProcess, Installation

_HOLD = """
set -e
mount --make-rprivate /
mount -t tmpfs none {base}/layer
mkdir {base}/layer/upper {base}/layer/work
mount -t overlay overlay -o lowerdir=/,upperdir={base}/layer/upper,workdir={base}/layer/work {base}/root
for each in proc sys dev; do mount --rbind /$each {base}/root/$each; done
mkdir -p {base}/root{shared}
mount --bind {shared} {base}/root{shared}
echo ready
read never
"""


class Root:
    """One machine. Files under `shared` are the same inside and outside."""

    def __init__(self, base: Path, shared: Path) -> None:
        self._base = base
        for name in ("layer", "root"):
            (base / name).mkdir(parents=True)
        shared.mkdir(exist_ok=True)
        self.shared = shared
        self._holder = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", _HOLD.format(base=base, shared=shared)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == "ready\n"

    def close(self) -> None:
        """Everything in it is gone, when its processes are."""
        self._holder.communicate("done\n", timeout=30)

    def enter(self, *argv: str | Path) -> list[str]:
        """The command line that runs `argv` inside."""
        inside = ["nsenter", "--mount", "--target", str(self._holder.pid), "chroot", str(self._base / "root")]
        return [*inside, *map(str, argv)]

    def run(self, script: str, *, check: bool = True) -> str:
        """Run shell lines inside; their output, both streams."""
        done = subprocess.run(
            self.enter("sh", "-ec", script), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}, check=False,
        )  # fmt: skip
        assert not check or done.returncode == 0, done.stdout
        return done.stdout

    def write(self, path: str, text: str) -> None:
        """A file inside."""
        subprocess.run(
            self.enter("sh", "-ec", f"mkdir -p $(dirname {path}); cat > {path}"), input=text, text=True, check=True
        )


class RootAgent(AgentProcess):
    """Our agent inside a root."""

    def __init__(self, root: Root, outside: AgentProcess, log: Path) -> None:
        super().__init__(outside.state, outside.node_id, log)
        self._root = root

    def start(self) -> None:
        with self._log.open("ab") as log:
            argv = self._root.enter(BIN / "pilothouse-agent", "run", "--state", self.state)
            self.process = subprocess.Popen(argv, stderr=log, env={"PATH": os.environ["PATH"], "HOME": "/root"})


@contextlib.contextmanager
def machine(
    house: Installation, folder: Path, name: str, *, release: Mapping[str, str], tags: dict[str, str] | None = None
) -> Iterator[tuple[Root, RootAgent]]:
    """A root whose os-release says `release`, and its agent, registered but not started yet."""
    enrolled = house.enrol(name, tags=tags, start=False)
    house.agents.remove(enrolled)
    root = Root(folder / name, house.folder)
    try:
        root.run("rm -f /etc/os-release")
        root.write("/etc/os-release", "".join(f'{key}="{value}"\n' for key, value in release.items()))
        agent = RootAgent(root, enrolled, folder / f"{name}.log")
        house.agents.append(agent)
        yield root, agent
        agent.stop()
    finally:
        root.close()


class AptRepository:
    """A repository of small packages in a folder that roots see."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def use(self, root: Root, *suites: str) -> None:
        """The root has these suites as its only repositories."""
        root.run("rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/* /var/lib/apt/lists/*")
        root.write("/etc/apt/sources.list", "".join(f"{self.line(suite)}\n" for suite in suites))
        root.write("/etc/apt/apt.conf.d/90root", 'APT::Sandbox::User "root";\n')

    def line(self, suite: str) -> str:
        """What stands in sources.list."""
        return f"deb [trusted=yes] file:{self.folder} {suite} main"

    def package(
        self,
        name: str,
        version: str,
        *,
        priority: str = "optional",
        section: str = "utils",
        depends: str = "",
        conflicts: str = "",
        postinst: str = "",
        machine: bool = False,
        kilobytes: int = 0,
    ) -> Path:
        """Build a package with one file in it, and one of `kilobytes`.

        `machine`: for this architecture, and so that those of others can be beside it.
        """
        architecture = "all"
        if machine:
            asked = subprocess.run(["dpkg", "--print-architecture"], check=True, capture_output=True, text=True)
            architecture = asked.stdout.strip()
        tree = self.folder / "build"
        shutil.rmtree(tree, ignore_errors=True)
        (tree / "DEBIAN").mkdir(parents=True)
        (tree / "usr/share" / name).mkdir(parents=True)
        (tree / "usr/share" / name / "version").write_text(version)
        (tree / "usr/share" / name / "filling").write_bytes(bytes(kilobytes << 10))
        fields = {
            "Package": name, "Version": version, "Architecture": architecture, "Multi-Arch": "same" if machine else "",
            "Maintainer": "Nobody <nobody@example.org>", "Priority": priority, "Section": section, "Depends": depends,
            "Conflicts": conflicts,
            "Description": f"{name} for tests",
        }  # fmt: skip
        (tree / "DEBIAN/control").write_text("".join(f"{key}: {value}\n" for key, value in fields.items() if value))
        if postinst:
            script = tree / "DEBIAN/postinst"
            script.write_text(f"#!/bin/sh\n{postinst}\n")
            script.chmod(0o755)
        made = self.folder / f"{name}_{version}_{architecture}.deb"
        subprocess.run(["dpkg-deb", "--build", "-Znone", tree, made], check=True, capture_output=True)
        shutil.rmtree(tree)
        return made

    def publish(self, suite: str, *packages: Path) -> None:
        """The suite has these packages now, and no others."""
        index = self.folder / "dists" / suite / "main" / "binary-amd64"
        index.mkdir(parents=True, exist_ok=True)
        stanzas = []
        for each in packages:
            control = subprocess.run(
                ["dpkg-deb", "-f", each], check=True, capture_output=True, text=True
            ).stdout.strip()
            content = each.read_bytes()
            digest = hashlib.sha256(content).hexdigest()
            stanzas.append(f"{control}\nFilename: {each.name}\nSize: {len(content)}\nSHA256: {digest}\n")
        (index / "Packages").write_text("\n".join(stanzas))


class RpmRepository:
    """A repository of small packages with notices, in a folder that roots see."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def package(
        self,
        name: str,
        version: str,
        release: str = "1",
        *,
        requires: str = "",
        provides: str = "",
        post: str = "",
        kilobytes: int = 0,
    ) -> str:
        """Build a package with one file in it, and one of `kilobytes`; its file name."""
        spec = self.folder / f"{name}.spec"
        spec.write_text(
            textwrap.dedent(f"""\
                Name: {name}
                Version: {version}
                Release: {release}
                Summary: {name} for tests
                License: none
                BuildArch: noarch
                {"Requires: " + requires if requires else ""}
                {"Provides: " + provides if provides else ""}
                %description
                None.
                %install
                mkdir -p %{{buildroot}}/usr/share/{name}
                echo {version} > %{{buildroot}}/usr/share/{name}/version
                head -c {kilobytes}K /dev/zero > %{{buildroot}}/usr/share/{name}/filling
                {"%post -p /bin/sh" if post else ""}
                {post}
                %files
                /usr/share/{name}/version
                /usr/share/{name}/filling
                """)
        )
        subprocess.run(
            ["rpmbuild", "-bb", "--define", f"_topdir {self.folder}/build", "--define", f"_rpmdir {self.folder}",
             "--define", "_build_name_fmt %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm", spec],
            check=True, capture_output=True,
        )  # fmt: skip
        shutil.rmtree(self.folder / "build")
        spec.unlink()
        return f"{name}-{version}-{release}.noarch.rpm"

    def publish(self, *notices: str) -> None:
        """The repository has all packages of the folder now, with these notices."""
        shutil.rmtree(self.folder / "repodata", ignore_errors=True)
        subprocess.run(["createrepo_c", "-q", self.folder], check=True, capture_output=True)
        info = self.folder / "updateinfo.xml"
        info.write_text(f"<updates>{''.join(notices)}</updates>")
        subprocess.run(["modifyrepo_c", info, self.folder / "repodata"], check=True, capture_output=True)
        info.unlink()

    def use(self, root: Root) -> None:
        """It is the root's only repository."""
        root.run("rm -rf /etc/yum.repos.d /etc/zypp/repos.d /etc/zypp/systemCheck /var/lib/rpm/*")  # it wants a glibc
        root.write("/etc/rpm/macros", "%_dbpath /var/lib/rpm\n")  # Debian's rpm has it elsewhere
        for folder in ("/etc/yum.repos.d", "/etc/zypp/repos.d"):
            root.write(f"{folder}/updates.repo", self.config())

    def config(self) -> str:
        """What stands in a .repo file."""
        return f"[updates]\nname=updates\nbaseurl=file://{self.folder}\nenabled=1\ngpgcheck=0\n"


def notice(
    advisory: str, *packages: tuple[str, str, str], kind: str = "security", severity: str = "Important", date: str
) -> str:
    """An update of updateinfo.xml for (name, version, release)."""
    listed = "".join(
        f'<package name="{name}" version="{version}" release="{release}" epoch="0" arch="noarch" '
        f'src="{name}-{version}-{release}.src.rpm"><filename>{name}-{version}-{release}.noarch.rpm</filename></package>'
        for name, version, release in packages
    )
    return (
        f'<update from="security@example.org" status="final" type="{kind}" version="1"><id>{advisory}</id>'
        f'<title>{advisory}</title><issued date="{date}"/><severity>{severity}</severity><description>For tests.'
        f'</description><references><reference href="https://example.org" id="CVE-2026-0001" type="cve" '
        f'title="CVE-2026-0001"/></references><pkglist><collection short="updates"><name>updates</name>{listed}'
        f"</collection></pkglist></update>"
    )
