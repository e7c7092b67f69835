"""The fleet of the commands' tests, for the edge itself."""

from tests.capabilities.commands.conftest import _signatures_follow_the_clock, fleet, until

__all__ = ["_signatures_follow_the_clock", "fleet", "until"]
