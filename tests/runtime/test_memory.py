"""What the C library asks of the system for the messages of sessions."""

import subprocess
import sys

import pytest

_PROGRAM = """
import platform, resource
from pilothouse.runtime import memory

def faults(kept):
    memory.keep_room_for_messages(kept)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(200):
        several = [bytes([number]) * 120_000 for number in range(1, 9)]
        several.clear()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

memory.keep_large_blocks_apart()
print(platform.libc_ver()[0], faults(False), faults(True), faults(False))
"""


def test_messages_of_sessions_find_their_room_without_asking_the_system_anew() -> None:
    said = subprocess.run([sys.executable, "-c", _PROGRAM], check=True, stdout=subprocess.PIPE, text=True).stdout
    library, *counts = said.split()
    if library != "glibc":
        pytest.skip("another C library than the one that is told")
    before, kept, after = map(int, counts)
    assert kept * 20 < before, "each message has its pages from the system"
    assert kept * 20 < after, "what sessions needed is kept after them"
