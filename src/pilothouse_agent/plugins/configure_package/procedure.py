"""Installing, updating and removing: a list of actions that is worked off, and what happens when one fails."""

import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pilothouse_agent.plugins.configure_package import Order
from pilothouse_agent.plugins.configure_package.manifest import Chosen, choose
from pilothouse_agent.plugins.configure_package.platforms import Platform, platform
from pilothouse_agent.plugins.configure_package.repository import Action, Repository, State
from pilothouse_agent.plugins.download_content.web import check_url, open_url
from pilothouse_agent.plugins.server import server_of
from pilothouse_agent.plugins.supervisor import WorkFailed

_REBOOT = 194
_DONE = {"install": "installed", "uninstall": "uninstalled", "update": "updated", "validate": "validated"}


def configure(order: Order) -> bool:
    """Do what is ordered; whether the machine must reboot before it goes on. Raises WorkFailed."""
    repository = Repository(order.run.node.state / "packages", order.name)
    with repository.locked():
        state = repository.state()
        state = _to_uninstall(order, state) if order.action == "Uninstall" else _to_install(order, repository, state)
        if not state.todo:
            return False
        return _Worker(order, repository).work_off(repository.store(state))


def _to_uninstall(order: Order, state: State) -> State:
    if not state.installed or order.version not in ("", state.installed):
        print(f"{order.name} {order.version} is not installed".replace("  ", " "))
        return replace(state, todo=[])
    if state.todo == [("uninstall", state.installed)]:
        return state
    return replace(_anew(state, ""), todo=[("uninstall", state.installed)])


def _anew(state: State, target: str) -> State:
    """What was left of an earlier order no longer counts."""
    return State(installed=state.installed, sha256=state.sha256, target=target, previous=state.installed)


def _to_install(order: Order, repository: Repository, state: State) -> State:
    document = _document(order)
    chosen = choose(str(document.get("Content") or ""), platform(Path("/"), os.uname().machine))
    version = chosen.version
    if state.todo and state.target == version and repository.has(version, chosen.sha256):
        print(f"Going on with {order.name} {version}")
        return state
    if not repository.has(version, chosen.sha256):
        _fetch(order, document, chosen, repository)
    todo: list[Action] = []
    if state.installed == version and state.sha256 == chosen.sha256:
        print(f"{order.name} {version} is already installed")
        todo = [("validate", version)] if (repository.directory(version) / "validate.sh").exists() else []
        return replace(_anew(state, version), todo=todo)
    if state.installed and order.in_place:
        if not (repository.directory(version) / "update.sh").exists():
            raise WorkFailed(
                "missing update script required for in-place update: make a package with an update script, "
                "or choose the installation type 'Uninstall and reinstall'"
            )
        todo = [("update", version), ("validate", version)]
    elif state.installed:
        todo = [("uninstall", state.installed), ("install", version), ("validate", version)]
    else:
        todo = [("install", version), ("validate", version)]
    return replace(_anew(state, version), todo=todo)


def _document(order: Order) -> dict[str, Any]:
    request = {"Name": order.name}
    if order.version:
        request["VersionName"] = order.version
    answer = server_of(order.run.node).call("GetDocument", request)
    if answer.get("DocumentType", "Package") != "Package":
        raise WorkFailed(f"{order.name} is a document of type {answer['DocumentType']}, not Package")
    return answer


def _fetch(order: Order, document: Mapping[str, Any], chosen: Chosen, repository: Repository) -> None:
    """Fetch the attachment, check it against the manifest, and unpack it."""
    urls = [
        str(attachment.get("Url"))
        for attachment in document.get("AttachmentsContent") or []
        if attachment.get("Name") == chosen.file
    ]
    if not urls:
        raise WorkFailed(f"the document has no attachment {chosen.file}, which its manifest names for this machine")
    check_url(urls[0], insecure=True)  # the digest vouches for what comes
    limit = order.run.settings.download_limit
    digest, size = hashlib.sha256(), 0
    with tempfile.NamedTemporaryFile(dir=order.run.node.state, prefix=".package-") as archive:
        with open_url(order.run.node, urls[0], {}, insecure=True) as content:
            for piece in content:
                size += len(piece)
                if size > limit:
                    raise WorkFailed(f"{chosen.file} is larger than {limit} bytes, the most that this node takes")
                digest.update(piece)
                archive.write(piece)
        archive.flush()
        if digest.hexdigest() != chosen.sha256 or chosen.size not in (None, size):
            raise WorkFailed(
                f"{chosen.file} is not what the manifest says: size or SHA-256 differ. Nothing was changed"
            )
        repository.unpack(Path(archive.name), chosen.version, chosen.sha256, limit)


class _Worker:
    """Works the list off."""

    def __init__(self, order: Order, repository: Repository) -> None:
        self._order = order
        self._repository = repository

    def work_off(self, state: State) -> bool:
        """Whether the machine must reboot before it goes on. Raises WorkFailed."""
        while state.todo:
            action, version = state.todo[0]
            code = self._run(action, version)
            if code not in (0, _REBOOT):
                state = self._after_failure(state, f"{action} of {version} ended with code {code}")
                continue
            print(f"Successfully {_DONE[action]} {self._order.name} {version}", flush=True)
            state = self._repository.store(self._after(state, action, version))
            if code == _REBOOT:
                print(f"Rebooting to finish {action} of {self._order.name} {version}")
                return True
        if state.rolling_back:
            name = self._order.name
            raise WorkFailed(f"Failed to install {name} {state.target}, successfully rolled back to {state.installed}")
        if state.previous and state.previous != state.installed:
            self._repository.remove(state.previous)
        return False

    def _after(self, state: State, action: str, version: str) -> State:
        left = replace(state, todo=state.todo[1:])
        if action == "uninstall":
            return replace(left, installed="", sha256="")
        if action in ("install", "update"):
            mark = self._repository.directory(version).with_name(f"{version}.sha256")
            return replace(left, installed=version, sha256=mark.read_text() if mark.exists() else "")
        return left

    def _after_failure(self, state: State, what: str) -> State:
        """Back to the version that was there, if its files are; else an end."""
        print(f"Failed: {what}", file=sys.stderr, flush=True)
        old = state.previous if state.previous != state.target else ""
        back = not state.rolling_back and old and self._repository.directory(old).is_dir()
        if back and state.todo[0][0] != "uninstall":
            todo: list[Action] = [("uninstall", state.target), ("install", old), ("validate", old)]
            return self._repository.store(replace(state, todo=todo, rolling_back=True))
        if state.rolling_back and state.todo[0][0] == "uninstall":  # what is half installed may not know how to go
            return self._repository.store(replace(state, todo=state.todo[1:]))
        self._repository.store(replace(state, todo=[], rolling_back=False))
        raise WorkFailed(f"Failed to {self._order.action.lower()} {self._order.name}")

    def _run(self, action: str, version: str) -> int:
        """The script's exit code; 0 for one that is not there and need not be."""
        directory = self._repository.directory(version)
        if not (directory / f"{action}.sh").exists():
            if action == "validate":
                return 0
            raise WorkFailed(f"the package {self._order.name} {version} has no {action}.sh")
        print(f"Initiating {self._order.name} {version} {action}", flush=True)
        done = subprocess.run(  # noqa: S603 -- the package's own script is what this plugin is for
            ["sh", f"{action}.sh"],  # noqa: S607 -- the node's own shell
            cwd=directory,
            env={**os.environ, **self._facts(action, platform(Path("/"), os.uname().machine)), **self._order.arguments},
            stdin=subprocess.DEVNULL,
            check=False,
        )
        return done.returncode if done.returncode >= 0 else 128 - done.returncode

    def _facts(self, action: str, here: Platform) -> dict[str, str]:
        return {
            "BWS_ACTION_NAME": action,
            "BWS_ARCHITECTURE": here.architecture,
            "BWS_INSTANCE_ID": self._order.run.node.instance_id,
            "BWS_ACCOUNT_ID": "",
            "BWS_AVAILABILITY_ZONE": "OnPrem",
            "BWS_INIT_SYSTEM": here.init,
            "BWS_INSTANCE_TYPE": "OnPrem",
            "BWS_PACKAGE_MANAGER": here.package_manager,
            "BWS_PLATFORM_FAMILY": here.family,
            "BWS_PLATFORM_NAME": here.name,
            "BWS_PLATFORM_VERSION": here.version,
            "BWS_REGION": self._order.run.node.region,
        }
