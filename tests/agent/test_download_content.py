"""aws:downloadContent on a real agent process, and the paths it may write to."""

import base64
import hashlib
import http.server
import json
import os
import re
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse_agent.plugins import Node
from pilothouse_agent.plugins.download_content.checkout import checkout_of
from pilothouse_agent.plugins.download_content.objects import locate
from pilothouse_agent.plugins.download_content.places import Place, Unsafe, leads_outside, parts_of
from pilothouse_agent.plugins.supervisor import WorkFailed
from tests.agent.conftest import Agent
from tests.agent.fake_server import FakeServer
from tests.agent.test_run_document import results


def fetching(kind: str, info: Any, to: str = "") -> dict[str, Any]:
    return {
        "action": "aws:downloadContent",
        "inputs": {"sourceType": kind, "sourceInfo": info, "destinationPath": to},
    }


def failed(step: dict[str, Any]) -> str:
    """Why."""
    assert (step["status"], step["code"]) == ("Failed", 1)
    return str(step["standardError"])


async def test_files_over_http(server: FakeServer, agent: Agent, tmp_path: Path) -> None:
    (tmp_path / "tool.sh").write_text("echo tool\n")
    server.files |= {"/tool.sh": tmp_path / "tool.sh", "/private": tmp_path / "tool.sh"}
    server.guarded["/private"] = "Basic " + base64.b64encode(b"me:open sesame").decode()
    server.parameters["pass"] = {"Type": "SecureString", "Value": "open sesame", "Version": 1}
    server.parameters["plain"] = {"Type": "String", "Value": "open sesame", "Version": 1}
    basic = {"url": f"{server.url}/private", "authMethod": "Basic", "username": "me"}
    await agent.online()
    seen = await results(
        server,
        agent,
        fetching("HTTP", json.dumps({"url": f"{server.url}/tool.sh"})),
        fetching("HTTP", {"url": f"{server.url}/tool.sh"}, "sub/dir/renamed.sh"),
        fetching("HTTP", {**basic, "password": "{{ ssm-secure:pass }}"}, f"{tmp_path}/absolute/"),
        {"lines": ["sh ./tool.sh", "./sub/dir/renamed.sh", f"cat {tmp_path}/absolute/private"]},
        fetching("HTTP", {**basic, "password": "wrong"}),
        fetching("HTTP", {**basic, "password": "{{ssm-secure:plain}}"}),
        fetching("HTTP", {"url": "http://localhost/x"}),
        fetching("HTTP", {"url": "file:///etc/passwd"}),
        fetching("HTTP", {"url": f"{server.url}/tool.sh"}, "../escape"),
        fetching("HTTP", "{"),
        fetching("FTP", {"url": "x"}),
    )
    steps = list(seen.values())
    assert [step["status"] for step in steps[:4]] == ["Success"] * 4
    assert steps[0]["standardOutput"].startswith("Content downloaded to /")
    assert steps[3]["standardOutput"] == "tool\ntool\necho tool\n"
    assert "Status: 401" in failed(steps[4])
    assert "plain is no SecureString" in failed(steps[5])
    assert "insecure download is not allowed" in failed(steps[6])
    assert "HTTP or HTTPS is accepted" in failed(steps[7])
    assert "must stay below the downloads" in failed(steps[8])
    assert "SourceInfo could not be unmarshalled" in failed(steps[9])
    assert "Unsupported source type" in failed(steps[10])
    assert "sesame" not in json.dumps(seen)


async def test_objects_documents_and_the_limit_of_a_download(server: FakeServer, agent: Agent, tmp_path: Path) -> None:
    agent.environment["PILOTHOUSE_AGENT_DOWNLOAD_LIMIT"] = "100000"
    server.documents["Doc:2"] = '{"schemaVersion":"2.2"}'
    server.objects.stored |= {
        ("things", "a b+c/one.txt"): b"one",
        ("things", "tree/x.txt"): b"x",
        ("things", "tree/deep/y.txt"): b"y",
        ("things", "tree/deep/"): b"",
        ("things", "tree/z.txt"): b"z",
        ("things", "bad/../../../etc/evil"): b"evil",
        ("things", "large"): b"." * 100_001,
    }
    await agent.online()
    seen = await results(
        server,
        agent,
        fetching("S3", {"path": f"{server.url}/things/a+b%2Bc/one.txt"}, "renamed.txt"),
        fetching("S3", {"path": "https://s3.amazonaws.com/things/tree"}, "here"),
        fetching("S3", {"path": "s3://things/tree/"}, "there/"),
        fetching("SSMDocument", {"name": "Doc:2"}),
        {"lines": ["cat renamed.txt; find here there | sort; cat Doc.json"]},
        fetching("S3", {"path": "s3://things/bad/"}, "bad/"),
        fetching("S3", {"path": "s3://things/large"}),
        fetching("S3", {"path": "s3://things/missing"}),
        fetching("S3", {"path": "https://elsewhere.example.com/things/x"}),
        {"lines": ["find . -name evil; ls -A bad; ls large; true"]},
    )
    steps = list(seen.values())
    assert [step["status"] for step in steps[:5]] == ["Success"] * 5
    assert steps[4]["standardOutput"].split() == [
        "onehere", "here/deep", "here/deep/y.txt", "here/x.txt", "here/z.txt",
        "there", "there/deep", "there/deep/y.txt", "there/x.txt", "there/z.txt", '{"schemaVersion":"2.2"}',
    ]  # fmt: skip
    assert "a name that is not allowed" in failed(steps[5])
    assert "larger than 100000 bytes" in failed(steps[6])
    assert "there is no object things/missing" in failed(steps[7])
    assert "elsewhere.example.com is no S3 this node has rights for" in failed(steps[8])
    assert steps[9]["standardOutput"] == ""


def make_repository(where: Path) -> str:
    """A bare repository with two branches, one of them with a link out of it; the address of it."""

    def git(*words: str) -> str:
        command = ["git", "-C", str(where / "work"), "-c", "user.name=n", "-c", "user.email=e@example.com", *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    (where / "work/scripts").mkdir(parents=True)
    git("init", "--quiet", "--initial-branch=main")
    (where / "work/scripts/run.sh").write_text("echo first\n")
    (where / "work/inside").symlink_to("scripts/run.sh")
    git("add", ".")
    git("commit", "--quiet", "-m", "first")
    first = git("rev-parse", "HEAD")
    (where / "work/scripts/run.sh").write_text("echo second\n")
    git("commit", "--quiet", "-am", "second")
    git("checkout", "--quiet", "-b", "hostile")
    (where / "work/out").symlink_to("/etc")
    git("add", ".")
    git("commit", "--quiet", "-m", "out")
    git("checkout", "--quiet", "main")
    hook = where / "work/.git/hooks/post-checkout"
    hook.write_text(f"#!/bin/sh\ntouch {where}/hook-ran\n")
    hook.chmod(0o755)
    return first


async def test_a_repository_by_branch_and_commit(server: FakeServer, agent: Agent, tmp_path: Path) -> None:
    first = make_repository(tmp_path)
    url = f"file://{tmp_path}/work"
    agent.environment["GIT_TEMPLATE_DIR"] = str(tmp_path / "work/.git")  # must have no effect
    await agent.online()
    seen = await results(
        server,
        agent,
        fetching("Git", {"repository": url}, "latest"),
        fetching("Git", {"repository": url, "getOptions": f"commitID:{first}"}, "older"),
        {"lines": ["sh latest/inside; sh older/scripts/run.sh; ls -A latest"]},
        fetching("Git", {"repository": url, "getOptions": "branch:hostile"}, "hostile"),
        fetching("Git", {"repository": url, "getOptions": "branch:--upload-pack=touch"}),
        fetching("Git", {"repository": f"ext::sh -c 'touch {tmp_path}/ran'"}),
        fetching("Git", {"repository": f"file://{tmp_path}/nothing"}),
        fetching("Git", {"repository": "git@example.com:a/b.git", "username": "me"}),
        {"lines": ["ls -A hostile"]},
    )
    steps = list(seen.values())
    assert [step["status"] for step in steps[:3]] == ["Success"] * 3
    assert steps[2]["standardOutput"].split() == ["second", "first", ".git", "inside", "scripts"]
    assert "the link out points out of the content" in failed(steps[3])
    assert "the branch of getOptions is none" in failed(steps[4])
    assert "Invalid repository url format" in failed(steps[5])
    assert "Cannot clone repository file://" in failed(steps[6])
    assert "Private SSH key for authentication" in failed(steps[7])
    assert steps[8]["standardOutput"] == ""
    assert not (tmp_path / "hook-ran").exists()


async def test_files_and_directories_of_github(server: FakeServer, agent: Agent, tmp_path: Path) -> None:
    """The API is played by the fake server."""
    base = "/api/repos/us/tools/contents"
    listing = [
        {"name": "run.sh", "path": "scripts/run.sh", "type": "file"},
        {"name": "lib", "path": "scripts/lib", "type": "dir"},
    ]
    answers: dict[str, Any] = {
        f"{base}/scripts": json.dumps(listing),
        f"{base}/scripts/run.sh": "echo ran\n",
        f"{base}/scripts/run.sh application/vnd.github+json": '{"type": "file"}',
        f"{base}/scripts/lib": json.dumps([{"name": "x", "path": "scripts/lib/x", "type": "file"}]),
        f"{base}/scripts/lib/x": "x",
        f"{base}/evil": json.dumps([{"name": "../../evil", "path": "scripts/run.sh", "type": "file"}]),
    }
    for number, (path, answer) in enumerate(answers.items()):
        (tmp_path / f"{number}").write_text(answer)
        server.files[path] = tmp_path / f"{number}"
        server.guarded[path.partition(" ")[0]] = "Bearer secret-token"
    server.parameters["token"] = {"Type": "SecureString", "Value": "secret-token", "Version": 1}
    agent.environment["PILOTHOUSE_AGENT_GITHUB_URL"] = f"{server.url}/api"
    repository = {"owner": "us", "repository": "tools", "tokenInfo": "{{ssm-secure:token}}"}
    await agent.online()
    seen = await results(
        server,
        agent,
        fetching("GitHub", {**repository, "path": "scripts", "getOptions": "branch:main"}, "all"),
        fetching("GitHub", {**repository, "path": "scripts/run.sh"}),
        {"lines": ["sh run.sh; cat all/lib/x"]},
        fetching("GitHub", {**repository, "path": "evil"}, "evil"),
        fetching("GitHub", {"owner": "us", "repository": "tools", "path": "scripts"}),
        fetching("GitHub", {"owner": "us"}),
    )
    steps = list(seen.values())
    assert [step["status"] for step in steps[:3]] == ["Success"] * 3
    assert steps[2]["standardOutput"] == "ran\nx"
    assert "a name that is not allowed" in failed(steps[3])
    assert "Status: 401" in failed(steps[4])
    assert "Repository for GitHub SourceType must be specified" in failed(steps[5])


names = st.text(alphabet="ab./\\\0 é-", max_size=30)


@given(st.lists(names, max_size=6))
def test_no_name_leads_outside(tmp_path_factory: pytest.TempPathFactory, given_names: list[str]) -> None:
    root = tmp_path_factory.mktemp("root")
    place = Place(root / "in", 1_000)
    for name in given_names:
        try:
            place.write(parts_of(name), [b"x"])
        except Unsafe:
            continue
    assert sorted(os.listdir(root)) == ["in"]
    assert all((root / "in") in found.parents for found in (root / "in").rglob("*"))


@given(names, names)
def test_no_link_leads_outside(tmp_path_factory: pytest.TempPathFactory, name: str, target: str) -> None:
    """What the rule lets through resolves to a path inside, as the system itself sees it."""
    try:
        parts = parts_of(name)
    except Unsafe:
        return
    if "\0" in target or leads_outside(parts, target):
        return
    root = tmp_path_factory.mktemp("root").resolve()
    link = root.joinpath(*parts)
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(target)
    assert Path(os.path.normpath(link.parent / target)).is_relative_to(root)


def test_what_is_there_already_leads_nowhere_else(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    place = Place(tmp_path / "in", 1_000)
    (tmp_path / "in/link").symlink_to(tmp_path / "outside")
    (tmp_path / "in/file").symlink_to(tmp_path / "outside/file")
    with pytest.raises(Unsafe):
        place.write(("link", "x"), [b"x"])
    place.write(("file",), [b"mine"])
    assert not list((tmp_path / "outside").iterdir())
    assert (tmp_path / "in/file").read_bytes() == b"mine"
    with pytest.raises(WorkFailed, match="larger than"):
        place.write(("big",), [b"x" * 600, b"x" * 600])
    assert sorted(os.listdir(tmp_path / "in")) == ["file", "link"]


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("https://s3.amazonaws.com/b/k/l", ("b", "k/l")),
        ("https://s3-eu-west-1.amazonaws.com/b/k", ("b", "k")),
        ("https://s3.dualstack.eu-west-1.amazonaws.com/b/k", ("b", "k")),
        ("https://b.c.s3.eu-west-1.amazonaws.com/k+l", ("b.c", "k l")),
        ("https://b.s3.cn-north-1.amazonaws.com.cn/k", ("b", "k")),
        ("https://node.test:7743/b/k", ("b", "k")),
        ("https://b.s3.node.test:7743/k", ("b", "k")),
        ("s3://b/", ("b", "")),
        ("https://node.test/b/k", None),
        ("https://amazonaws.com.evil.test/b/k", None),
        ("http://s3.amazonaws.com/b/k", None),
        ("https://s3.amazonaws.com/", None),
        ("https://[/b", None),
    ],
)
def test_where_objects_are(path: str, found: tuple[str, str] | None) -> None:
    node = Node.__new__(Node)
    object.__setattr__(node, "host", "node.test")
    object.__setattr__(node, "port", 7743)
    if found is None:
        with pytest.raises(WorkFailed):
            locate(path, node)
    else:
        assert locate(path, node) == found


@given(st.text(max_size=20))
def test_options_of_git_are_no_arguments(value: str) -> None:
    for kind in ("branch", "commitID"):
        try:
            chosen = checkout_of(f"{kind}:{value}")
        except WorkFailed:
            continue
        text = chosen.branch or chosen.commit
        assert text
        assert not text.startswith("-")
        assert not any(letter in text for letter in " ~^:?*[\\\n\0")


class _Guarded(http.server.BaseHTTPRequestHandler):
    """Wants digest authentication of me:secret; /moved leads to /file, /out to another scheme."""

    def do_GET(self) -> None:
        if self.path in ("/moved", "/out"):
            self.send_response(302)
            self.send_header("Location", "/file" if self.path == "/moved" else "file:///etc/passwd")
            self.end_headers()
            return
        fields = dict(re.findall(r'(\w+)="?([^",]+)"?', self.headers.get("Authorization", "")))

        def md5(text: str) -> str:
            return hashlib.md5(text.encode()).hexdigest()

        parts = [md5("me:here:secret"), *(fields.get(name, "") for name in ("nonce", "nc", "cnonce", "qop"))]
        if fields.get("response") != md5(":".join([*parts, md5(f"GET:{self.path}")])):
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Digest realm="here", nonce="abc", qop="auth", algorithm=MD5')
            self.end_headers()
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"content")

    def log_message(self, *_: object) -> None:
        """Quiet."""


async def test_digests_and_redirects(server: FakeServer, agent: Agent) -> None:
    await agent.online()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Guarded) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{web.server_port}"
        asked = {"allowInsecureDownload": True, "authMethod": "Digest", "username": "me", "password": "secret"}
        seen = await results(
            server,
            agent,
            fetching("HTTP", {**asked, "url": f"{url}/moved"}, "got"),
            {"lines": ["cat got"]},
            fetching("HTTP", {**asked, "url": f"{url}/moved", "password": "wrong"}),
            fetching("HTTP", {**asked, "url": f"{url}/out"}),
        )
        web.shutdown()
    steps = list(seen.values())
    assert (steps[0]["status"], steps[1]["standardOutput"]) == ("Success", "content")
    assert "401" in failed(steps[2])
    assert "is not allowed" in failed(steps[3])
