"""Room for connections, in a process of its own: limits that were lowered do not come back."""

import subprocess
import sys

import pytest

ASK = """
import resource, sys
from pilothouse.runtime.descriptors import room_for
soft, hard, wished = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
print(room_for(wished), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


@pytest.mark.parametrize(
    ("soft", "hard", "wished", "room", "raised"),
    [
        (1024, 4096, 2000, 2000, 2512),  # raised as far as that needs
        (1024, 4096, 200, 200, 1024),  # enough is there
        (1024, 4096, 9000, 4096 - 512, 4096),  # and no further than may be
        (1024, 4096, 0, 4096 - 512, 4096),
        (256, 256, 9000, 128, 256),  # half of very few stays for the rest
    ],
)
def test_the_rest_always_gets_its_descriptors(soft: int, hard: int, wished: int, room: int, raised: int) -> None:
    command = [sys.executable, "-c", ASK, str(soft), str(hard), str(wished)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    assert said[-1] == f"{room} {raised}"
    assert any("few_file_descriptors" in line for line in said) == (wished > room)
