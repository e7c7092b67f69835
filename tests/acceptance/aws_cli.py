"""The unmodified aws CLI, in one process for many calls: what it takes to start and to read its models is paid once for
each user."""

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

_CALLS = """
import contextlib, io, json, os, sys
from awscli.clidriver import create_clidriver
drivers = {}
for line in sys.stdin:
    call = json.loads(line)
    os.environ.update(call["environment"])
    whose = call["environment"]["AWS_ACCESS_KEY_ID"]
    if whose not in drivers:
        drivers[whose] = create_clidriver()
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = drivers[whose].main(call["words"])
        except SystemExit as left:
            code = left.code
    print(json.dumps({"code": code, "out": out.getvalue(), "err": err.getvalue()}), flush=True)
"""


class Refused(Exception):
    """The CLI ended with an error, which is what it said."""

    def __init__(self, said: str) -> None:
        super().__init__(said)
        self.code = said.partition("(")[2].partition(")")[0]


class AwsCli:
    """Calls of one user after another."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = dict(environment)
        self._process = subprocess.Popen(
            [sys.executable, "-c", _CALLS], env=self._environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True,
        )  # fmt: skip

    def __call__(self, *words: str, keys: Mapping[str, str] | None = None) -> Any:
        """The answer of `aws …`, as JSON. Raises Refused. `keys`: those of another user."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
        mine = {name: (keys or self._environment)[name] for name in names}
        call = {"words": [*words, "--output", "json"], "environment": mine}
        self._process.stdin.write(json.dumps(call) + "\n")
        self._process.stdin.flush()
        done = json.loads(self._process.stdout.readline())
        if done["code"]:
            raise Refused(done["err"].strip())
        return json.loads(done["out"]) if done["out"].strip() else None

    def close(self) -> None:
        self._process.communicate(timeout=30)
