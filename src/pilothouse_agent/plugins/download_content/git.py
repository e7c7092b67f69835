"""Git: a repository, cloned by the git program beside the destination and then moved there.

Nothing of the repository is run: no hooks, no filters, no submodules, no configuration but our own.
git never asks anybody anything, and secrets reach it neither as arguments nor in its configuration.
"""

import base64
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

from pilothouse_agent.plugins.download_content import Order, is_true, text_of
from pilothouse_agent.plugins.download_content.checkout import Checkout, checkout_of
from pilothouse_agent.plugins.download_content.places import Place
from pilothouse_agent.plugins.download_content.secret_values import resolve
from pilothouse_agent.plugins.server import server_of
from pilothouse_agent.plugins.supervisor import WorkFailed

_SCP_STYLE = re.compile(r"(?![-])[A-Za-z0-9._~-]+@(?![-])[A-Za-z0-9._-]+:(?![-]).+\Z")
_SECRET_IN_URL = re.compile(r"://[^/@\s]+@")
_SCHEMES = frozenset({"https", "http", "ssh", "git", "file"})
_HARDENED = {
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "core.protectHFS": "true",
    "core.protectNTFS": "true",
    "credential.helper": "",
    "fetch.fsckObjects": "true",
    "gc.auto": "0",
    "http.followRedirects": "false",
    "init.templateDir": "",
    "protocol.ext.allow": "never",
    "submodule.recurse": "false",
    "transfer.fsckObjects": "true",
}


def fetch(order: Order) -> None:
    """sourceInfo: repository, getOptions, privateSSHKey, skipHostKeyChecking, username, password."""
    url = text_of(order.info, "repository")
    over_web = _check(url, order)
    checkout = checkout_of(text_of(order.info, "getOptions"))
    program = shutil.which("git")
    if program is None:
        raise WorkFailed("git is not installed on this node")
    place = Place(Path(order.destination), order.run.settings.download_limit)
    for left in place.root.glob(".clone-*"):  # of an earlier try that was interrupted
        shutil.rmtree(left, ignore_errors=True)
    scratch = Path(tempfile.mkdtemp(prefix=".clone-", dir=place.root))
    try:
        environment = _environment(order, url, scratch, over_web=over_web)
        tree = scratch / "tree"
        _clone(program, url, tree, checkout, environment)
        place.adopt(tree)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _check(url: str, order: Order) -> bool:
    """Whether it is a web address. Raises WorkFailed if it is no address, or the secrets do not fit it."""
    if not url:
        raise WorkFailed("Repository for Git resources type must be specified")
    if _SCP_STYLE.match(url):
        scheme = "ssh"
    else:
        try:
            parts = urlsplit(url)
            scheme = parts.scheme if not (parts.hostname or "").startswith("-") else ""
        except ValueError:
            scheme = ""
    if scheme not in _SCHEMES or any(ord(letter) < 33 for letter in url):
        raise WorkFailed(f"Invalid repository url format: it must be {', '.join(sorted(_SCHEMES))} or user@host:path")
    over_web = scheme in ("http", "https")
    named = any(text_of(order.info, name) for name in ("username", "password"))
    if not over_web and named:
        raise WorkFailed(
            "Neither Username nor Password must not be provided for Git type repository URL. "
            "Private SSH key for authentication"
        )
    if over_web and text_of(order.info, "privateSSHKey"):
        raise WorkFailed(
            "Private SSH key must not be provided for HTTP type repository URL. "
            "Username and Password is required for authentication"
        )
    return over_web


def _environment(order: Order, url: str, scratch: Path, *, over_web: bool) -> dict[str, str]:
    """What git sees: our configuration alone, secrets included, and nobody to ask."""
    settings = dict(_HARDENED)
    server = server_of(order.run.node)
    who = [resolve(server, text_of(order.info, name)) for name in ("username", "password")]
    if over_web and all(who):
        parts = urlsplit(url)
        origin = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/"
        code = base64.b64encode(":".join(who).encode()).decode()
        settings[f"http.{origin}.extraHeader"] = f"Authorization: Basic {code}"
    made = {
        "GIT_ALLOW_PROTOCOL": ":".join(sorted(_SCHEMES)),
        "GIT_ASKPASS": "true",  # the program: it answers with nothing
        "GIT_CONFIG_COUNT": str(len(settings)),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_LFS_SKIP_SMUDGE": "1",
        "GIT_SSH_COMMAND": _ssh(order, scratch),
        "GIT_TERMINAL_PROMPT": "0",
        "SSH_ASKPASS": "true",
    }
    for number, (name, value) in enumerate(settings.items()):
        made |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "SSH_"))}
    return {"HOME": "/root" if os.geteuid() == 0 else "/", **kept, **made}


def _ssh(order: Order, scratch: Path) -> str:
    """The ssh that git starts: it asks nothing and knows the key that was given, if one was."""
    words = ["ssh", "-oBatchMode=yes", "-oPermitLocalCommand=no"]
    if is_true(order.info, "skipHostKeyChecking"):
        words += ["-oStrictHostKeyChecking=no", "-oUserKnownHostsFile=/dev/null"]
    else:
        words += ["-oStrictHostKeyChecking=yes"]
    key = resolve(server_of(order.run.node), str(order.info.get("privatesshkey") or ""))
    if key:
        path = scratch / "key"
        path.touch(mode=0o600)
        path.write_text(key.strip() + "\n")
        words += ["-oIdentitiesOnly=yes", f"-oIdentityFile={path}"]
    return shlex.join(words)


def _clone(program: str, url: str, tree: Path, checkout: Checkout, environment: dict[str, str]) -> None:
    command = [program, "clone", "--quiet", "--no-recurse-submodules", "--template=", "--no-hardlinks"]
    if checkout.branch:
        command += [f"--branch={checkout.branch}"]
    elif checkout.commit:
        command += ["--no-checkout"]
    _git([*command, "--", url, str(tree)], environment, f"Cannot clone repository {_shown(url)}")
    if checkout.commit:
        inside = [program, "-C", str(tree), "checkout", "--quiet", "--detach", checkout.commit]
        _git(inside, environment, "Cannot checkout")


def _git(command: list[str], environment: dict[str, str], what: str) -> None:
    done = subprocess.run(  # noqa: S603 -- git, and every word is checked
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        check=False,
    )
    if done.returncode == 0:
        return
    said = _SECRET_IN_URL.sub("://", done.stderr.decode("utf-8", "replace")).strip()[-2_000:]
    if "Host key verification failed" in said:
        said = (
            "Unknown host key. Please add remote host key known_hosts file or set SourceInfo "
            "'skipHostKeyChecking' parameter to true in order to skip host key validation"
        )
    raise WorkFailed(f"{what}: {said or f'git ended with code {done.returncode}'}")


def _shown(url: str) -> str:
    """The address without who asks."""
    scheme, found, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}" if found else url
