"""Associations: what a node shall keep to.

There is no way to make one yet; agents ask all the same, and get an answer.
"""

from pilothouse.call import Capability
from pilothouse.capabilities.associations import agent

CAPABILITY = Capability.of("associations", agent)

__all__ = ["CAPABILITY"]
