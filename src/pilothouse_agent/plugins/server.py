"""The node's server, as works of plugins call it."""

from pilothouse_agent.link.blocking import Server
from pilothouse_agent.plugins import Node


def server_of(node: Node) -> Server:
    """For a child of the agent."""
    return Server(
        host=node.host,
        port=node.port,
        ca_file=node.ca_file,
        region=node.region,
        credentials_file=node.credentials_file,
    )
