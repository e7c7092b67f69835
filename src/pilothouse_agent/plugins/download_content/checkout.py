"""getOptions of Git and GitHub sources: `branch:NAME` or `commitID:HASH`."""

import re
from dataclasses import dataclass

from pilothouse_agent.plugins.supervisor import WorkFailed

_BRANCH = re.compile(r"(?![-./])(?!.*(?:\.\.|//|@\{|\.lock(?:/|\Z)))[^\x00-\x20\x7f~^:?*\[\\]{1,255}(?<![./])\Z")
_COMMIT = re.compile(r"[0-9a-fA-F]{4,64}\Z")


@dataclass(frozen=True, slots=True)
class Checkout:
    """One of both, or neither: the default branch."""

    branch: str = ""
    commit: str = ""


def checkout_of(options: str) -> Checkout:
    """Raises WorkFailed."""
    if not options:
        return Checkout()
    kind, found, value = options.partition(":")
    if not found:
        raise WorkFailed("getOptions is not specified in the right format")
    if ":" in value:
        raise WorkFailed("Only specify one required option")
    if kind not in ("branch", "commitID"):
        raise WorkFailed("Type of option is unknown. Please use either 'branch' or 'commitID'.")
    value = value.strip()
    if not value:
        raise WorkFailed("Option for retrieving git content is empty")
    if kind == "branch" and _BRANCH.match(value):
        return Checkout(branch=value)
    if kind == "commitID" and _COMMIT.match(value):
        return Checkout(commit=value)
    raise WorkFailed(f"the {kind} of getOptions is none")
