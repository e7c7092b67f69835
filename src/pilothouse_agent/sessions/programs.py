"""Programs without a terminal: NonInteractiveCommands, and programs of our own clients (session-protocol 5.2).

What our own clients get beyond the official agent is in docs/reference/agent-protocol-extensions.md.
"""

import errno
import os
import re
import shlex
import signal
from collections.abc import Callable

from pilothouse_agent import processes
from pilothouse_agent.sessions import spawn
from pilothouse_agent.sessions.activity import END_OF_INPUT, TERMINATE, Ending, Scene, flag_of, note_child, signal_of
from pilothouse_agent.sessions.channel import EXIT_CODE, FLAG, OUTPUT, STDERR
from pilothouse_agent.sessions.order import is_true
from pilothouse_agent.sessions.streams import Sink, Source, pieces
from pilothouse_agent.sessions.terminal import Terminal, end_program

_PREFIX = re.compile(r"[0-9a-zA-Z\r\n_:-]{0,30}\Z")
_REST = 0.5  # seconds of silence after a program's end before pipes that others hold open are given up
_NOT_FOUND, _NOT_STARTED = 127, 126
_KEYS = {b"\x03": signal.SIGINT, b"\x1c": signal.SIGQUIT}
"""What a client of the official kind sends for Ctrl-C and Ctrl-\\."""


class Program:
    """One program and its three streams."""

    def __init__(self, scene: Scene, argv: list[str]) -> None:
        properties = scene.order.of_platform
        self._scene = scene
        self._argv = argv
        self._exec = scene.client.takes_exec
        self._separate = self._exec or is_true(properties.get("separateOutputStream"))
        self._prefixes = {OUTPUT: b"", STDERR: b""}
        if self._separate and not self._exec:
            for kind, name in ((OUTPUT, "stdOutSeparatorPrefix"), (STDERR, "stdErrSeparatorPrefix")):
                prefix = properties.get(name)
                if isinstance(prefix, str) and _PREFIX.match(prefix):
                    self._prefixes[kind] = prefix.encode()
        self._pid = -1
        self._sink: Sink | None = None
        self._sources: list[Source] = []
        self._descriptors: list[int] = []
        self._started = False
        scene.channel.take = self._take

    async def run(self) -> Ending:
        try:
            self._start()
        except OSError as error:
            return self._not_started(error)
        note_child(self._scene.directory, self._pid, spawn.birth(self._pid))
        self._started = True
        self._scene.channel.ready()
        await processes.ended(self._pid)
        code = processes.reap(self._pid) or 0
        self._pid = -1
        for source in self._sources:
            await source.rest(_REST)
        await self._say_code(code if code >= 0 else 128 - code)
        return Ending()

    def _start(self) -> None:
        theirs: list[int] = []
        try:
            output, their_output = os.pipe()
            self._descriptors.append(output)
            theirs.append(their_output)
            their_error = their_output
            emitters = [(output, OUTPUT)]
            if self._separate:
                error, their_error = os.pipe()
                self._descriptors.append(error)
                theirs.append(their_error)
                emitters.append((error, STDERR))
            if self._exec:
                their_input, given = os.pipe()
                self._sink = Sink(given, self._scene.channel.backlog, lambda: os.close(given))
            else:
                their_input = os.open(os.devnull, os.O_RDONLY)
            theirs.append(their_input)
            streams = (their_input, their_output, their_error)
            account = self._scene.account
            self._pid = spawn.program(self._argv, account, account.environment(), streams=streams)
        finally:
            for descriptor in theirs:
                os.close(descriptor)
        self._sources = [Source(each, self._scene.channel, self._emitter(kind)) for each, kind in emitters]

    def _not_started(self, error: OSError) -> Ending:
        reason = f"{self._argv[0]}: {error.strerror}"
        if not self._separate:
            return Ending(status="Failed", output=f"Unable to start command: {reason}")
        self._emitter(STDERR)(f"{reason}\n".encode())
        self._put_code(_NOT_FOUND if error.errno == errno.ENOENT else _NOT_STARTED)
        return Ending()

    def _emitter(self, kind: int) -> Callable[[bytes], None]:
        prefix = self._prefixes[kind]
        room = self._scene.client.chunk - len(prefix)

        def emit(data: bytes) -> None:
            self._scene.record(data)
            made = pieces(data, room)
            self._scene.channel.put(kind, *((prefix + piece for piece in made) if prefix else made))

        return emit

    async def _say_code(self, code: int) -> None:
        await self._scene.channel.room()
        self._put_code(code)

    def _put_code(self, code: int) -> None:
        if self._separate:
            self._scene.channel.put(EXIT_CODE, f"EXIT_CODE: {code}".encode())

    def _take(self, payload_type: int, payload: bytes) -> bool:
        if not self._started:
            return False
        if payload_type == FLAG:
            self._flag(flag_of(payload))
        elif payload_type == OUTPUT:
            if self._sink is not None:
                self._sink.put(payload)
            elif payload in _KEYS:
                self._signal(_KEYS[payload])
        return True

    def _flag(self, number: int) -> None:
        if number == TERMINATE:
            self._signal(signal.SIGHUP)
        elif number == END_OF_INPUT and self._sink is not None:
            self._sink.end()
        elif self._exec and signal_of(number):
            self._signal(signal.Signals(signal_of(number)))

    def _signal(self, number: signal.Signals) -> None:
        if self._pid > 0:
            spawn.end_group(self._pid, number)

    async def end(self) -> None:
        for source in self._sources:
            source.stop()
        if self._sink is not None:
            self._sink.stop()
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors.clear()
        await end_program(self._pid)


class TerminalProgram:
    """A program of our own client in a terminal, with its exit code."""

    def __init__(self, scene: Scene, argv: list[str]) -> None:
        self._scene = scene
        self._argv = argv
        self._terminal = Terminal(scene, argv)

    async def run(self) -> Ending:
        channel = self._scene.channel
        try:
            ending = await self._terminal.run()
            code = self._terminal.code
        except OSError as error:
            channel.put(STDERR, f"{self._argv[0]}: {error.strerror}\r\n".encode())
            ending, code = Ending(), _NOT_FOUND if error.errno == errno.ENOENT else _NOT_STARTED
        await channel.room()
        channel.put(EXIT_CODE, f"EXIT_CODE: {code if code >= 0 else 128 - code}".encode())
        return ending

    async def end(self) -> None:
        await self._terminal.end()


def program(scene: Scene) -> Program | TerminalProgram:
    """The program that the document names. Raises ValueError."""
    text = scene.order.of_platform.get("commands")
    argv = shlex.split(text) if isinstance(text, str) else []
    if not argv:
        raise ValueError("The document has no commands for Linux.")
    return TerminalProgram(scene, argv) if scene.client.tty else Program(scene, argv)
