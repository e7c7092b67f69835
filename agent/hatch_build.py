"""Puts the agent's package, which lies beside the server's, into its wheel; an editable install points at it instead."""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class AgentPackage(BuildHookInterface):  # type: ignore[type-arg]
    """A forced inclusion would put a copy into editable installs too, and the copy would hide the source."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """`version` is `standard` for a wheel, `editable` for a development install."""
        if version == "standard":
            build_data["force_include"]["../src/pilothouse_agent"] = "pilothouse_agent"
