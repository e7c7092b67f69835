"""Figures of others for one command `true`, end to end, as they were found on a machine of this class.

Each with real agents or hosts: Salt 3007 with 50 minions, Ansible over SSH to 50 hosts on loopback, connections warm.
"""

SALT_NODES_PER_SECOND = 23.0
SALT_CPU_US = 8_000
"""Of the master, for a node."""
SALT_MINION_MIB = 85.0
ANSIBLE_NODES_PER_SECOND = 3.3


def beside_published(nodes_per_second: float) -> dict[str, float]:
    """How many times as fast."""
    return {
        f"published figure, Salt: {SALT_NODES_PER_SECOND:g} nodes per second; ours, times that": nodes_per_second
        / SALT_NODES_PER_SECOND,
        f"published figure, Ansible: {ANSIBLE_NODES_PER_SECOND:g} nodes per second; ours, times that": nodes_per_second
        / ANSIBLE_NODES_PER_SECOND,
    }
