"""A program in a terminal: the shell of Standard_Stream, the commands of InteractiveCommands (session-protocol 5.1).

Also programs of our own clients that want a terminal.
"""

import asyncio
import os
import signal
from collections.abc import Sequence

from pilothouse_agent import processes
from pilothouse_agent.sessions import spawn
from pilothouse_agent.sessions.activity import (
    END_OF_INPUT,
    TERMINATE,
    Ending,
    Scene,
    flag_of,
    note_child,
    signal_of,
    size_of,
)
from pilothouse_agent.sessions.channel import FLAG, OUTPUT, SIZE
from pilothouse_agent.sessions.streams import Sink, Source

_REST = 0.5  # seconds of silence after the program's end before the terminal is closed, though others have it open
_GRACE = 2.0  # between SIGHUP and SIGKILL
_PROMPT = 1.5  # seconds that a shell may take to its prompt before it gets what was typed
_END_OF_FILE = b"\x04"


class Characters:
    """Cuts bytes into messages so that no UTF-8 character is split; what is no UTF-8 passes as it is."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._left = b""

    def feed(self, data: bytes) -> list[bytes]:
        data = self._left + data
        made: list[bytes] = []
        start = 0
        while len(data) - start > self._size:
            end = start + self._size - _open_at(data, start + self._size)
            made.append(data[start:end])
            start = end
        end = len(data) - _open_at(data, len(data))
        if end > start:
            made.append(data[start:end])
        self._left = data[max(end, start) :]
        return made

    def rest(self) -> list[bytes]:
        left, self._left = self._left, b""
        return [left] if left else []


def _open_at(data: bytes, end: int) -> int:
    """How many bytes before end belong to a character that is not complete there, three at most."""
    for back in range(1, min(3, end) + 1):
        byte = data[end - back]
        if byte & 0xC0 == 0x80:
            continue
        length = 2 if 0xC2 <= byte < 0xE0 else 3 if 0xE0 <= byte < 0xF0 else 4 if 0xF0 <= byte < 0xF5 else 1
        return back if length > back else 0
    return 0


class Terminal:
    """One program in one terminal."""

    def __init__(
        self, scene: Scene, argv: Sequence[str], *, name: str = "", typed: str = "", prompts: bool = False
    ) -> None:
        """name is the program's own view of its name, typed the text that is entered first.

        prompts: it shows a prompt when it is ready. What is typed earlier waits for that, as a terminal whose program
        has not set it up yet would show it once for itself, before the prompt.
        """
        self._prompts = prompts
        self._scene = scene
        self._argv, self._name, self._typed = argv, name, typed
        self._size = (scene.client.rows, scene.client.columns)
        self._characters = Characters(scene.client.chunk)
        self._ours = self._pid = -1
        self._sink: Sink | None = None
        self._source: Source | None = None
        self.code = 0
        scene.channel.take = self._take

    async def run(self) -> Ending:
        scene = self._scene
        self._ours, theirs = spawn.terminal_pair(scene.account, *self._size)
        try:
            environment = scene.account.environment(scene.client.term)
            self._pid = spawn.program(
                self._argv, scene.account, environment, streams=(theirs,) * 3, terminal=True, name=self._name
            )
        finally:
            os.close(theirs)
        note_child(scene.directory, self._pid, spawn.birth(self._pid))
        self._source = Source(self._ours, scene.channel, self._emit)
        self._sink = Sink(self._ours, scene.channel.backlog)
        if self._prompts:
            self._sink.hold(_PROMPT)
        if self._typed:
            self._sink.put(self._typed.encode() + b"\n")
        scene.channel.ready()
        await processes.ended(self._pid)
        self.code = processes.reap(self._pid) or 0
        self._pid = -1
        await self._source.rest(_REST)
        self._put(self._characters.rest())
        return Ending()

    def _emit(self, data: bytes) -> None:
        if self._sink is not None:
            self._sink.release()
        self._put(self._characters.feed(data))

    def _put(self, made: list[bytes]) -> None:
        if made:
            for piece in made:
                self._scene.record(piece)
            self._scene.channel.put(OUTPUT, *made)

    def _take(self, payload_type: int, payload: bytes) -> bool:
        if payload_type == SIZE:
            self._size = size_of(payload) or self._size
            if self._ours >= 0:
                spawn.set_size(self._ours, *self._size)
            return True
        if payload_type == FLAG:
            self._flag(flag_of(payload))
            return True
        if self._sink is None:
            return False
        if payload_type == OUTPUT:
            self._sink.put(payload)
        return True

    def _flag(self, number: int) -> None:
        if number == TERMINATE:
            self._signal(signal.SIGHUP)
        elif number == END_OF_INPUT and self._sink is not None:
            self._sink.put(_END_OF_FILE)
        elif signal_of(number):
            self._signal(signal.Signals(signal_of(number)))

    def _signal(self, number: signal.Signals) -> None:
        if self._pid > 0:
            spawn.end_group(self._pid, number)

    async def end(self) -> None:
        """Closing the terminal hangs up on the program, as on a lost line; what ignores that is killed."""
        if self._source is not None:
            self._source.stop()
        if self._sink is not None:
            self._sink.stop()
        if self._ours >= 0:
            os.close(self._ours)
            self._ours = -1
        await end_program(self._pid)


async def end_program(pid: int) -> None:
    """SIGHUP, and SIGKILL to its group if it is still there after the grace time."""
    if pid <= 0:
        return
    spawn.end_group(pid, signal.SIGHUP)
    spawn.end_group(pid, signal.SIGCONT)
    try:
        async with asyncio.timeout(_GRACE):
            await processes.ended(pid)
    except TimeoutError:
        spawn.end_group(pid, signal.SIGKILL)
        await processes.ended(pid)
    processes.reap(pid)


def shell(scene: Scene) -> Terminal:
    """The user's login shell."""
    path = scene.account.login_shell
    return Terminal(scene, [path], name=f"-{os.path.basename(path)}", typed=scene.order.shell_profile, prompts=True)


def commands(scene: Scene) -> Terminal:
    """The text of a document, run by sh. Raises ValueError if it has none."""
    text = scene.order.of_platform.get("commands")
    if not isinstance(text, str) or not text.strip():
        raise ValueError("The document has no commands for Linux.")
    return Terminal(scene, ["sh", "-c", text])
