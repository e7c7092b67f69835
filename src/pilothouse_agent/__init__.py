"""Node agent of Pilothouse: registers a machine, holds its control channel and runs commands.

Imports nothing of the server. link/ speaks to the server, documents/ reads what is to be done,
plugins/ does it, state/ remembers it across restarts, commands.py ties the last three together.
"""

__version__ = "0.1.0"

AGENT_VERSION = __version__ + ".0"
"""The four-part form that the protocol uses."""
