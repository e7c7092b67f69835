"""Files of our own clients: sessions of type Pilothouse_File (docs/reference/agent-protocol-extensions.md).

The work is done in a child that is the session's user; here messages are passed on.
"""

import os
import socket
from functools import partial

from pilothouse_agent import processes
from pilothouse_agent.sessions import spawn
from pilothouse_agent.sessions.activity import TERMINATE, Ending, Scene, flag_of, note_child
from pilothouse_agent.sessions.channel import FLAG, OUTPUT, SessionOver
from pilothouse_agent.sessions.handshake import LARGEST_CHUNK
from pilothouse_agent.sessions.streams import Sink, Source
from pilothouse_agent.sessions.terminal import end_program
from pilothouse_agent.sessions.transfer_work import OPERATIONS, Work, is_name

_REST = 0.5


class FileSession:
    """One path on the node, in one direction."""

    def __init__(self, scene: Scene) -> None:
        """Raises ValueError."""
        properties = scene.order.properties
        operation, path = properties.get("operation"), properties.get("path")
        if operation not in OPERATIONS:
            raise ValueError("operation of the document must be get or put")
        if not isinstance(path, str) or not path or not is_name(path):
            raise ValueError("path of the document must name a file or a directory")
        if not scene.client.takes_files:
            raise ValueError("the client does not take files over sessions")
        self._scene = scene
        self._operation, self._path = str(operation), path
        self._pid = -1
        self._ours: socket.socket | None = None
        self._sink: Sink | None = None
        self._source: Source | None = None
        scene.channel.take = self._take

    async def run(self) -> Ending:
        scene = self._scene
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        work = Work(theirs, scene.account, self._operation, self._path, scene.client.chunk)
        try:
            self._pid = processes.fork(work.serve, keep=(theirs.fileno(),))
        finally:
            theirs.close()
        note_child(scene.directory, self._pid, spawn.birth(self._pid))
        emit = partial(scene.channel.put, OUTPUT)
        # a message of the child's is read whole: with less room it would be cut
        self._source = Source(self._ours.fileno(), scene.channel, emit, LARGEST_CHUNK)
        self._sink = Sink(self._ours.fileno(), scene.channel.backlog)
        scene.channel.ready()
        await processes.ended(self._pid)
        code = processes.reap(self._pid)
        self._pid = -1
        await self._source.rest(_REST)
        return Ending() if code == 0 else Ending(status="Failed", output="The transfer broke off on the node.")

    def _take(self, payload_type: int, payload: bytes) -> bool:
        if payload_type == FLAG and flag_of(payload) == TERMINATE and self._pid > 0:
            os.kill(self._pid, 15)
            return True
        if self._sink is None:
            return False
        if len(payload) > LARGEST_CHUNK:
            raise SessionOver("The client sent a message that is too large.")
        if payload_type == OUTPUT and payload:
            self._sink.put(payload)
        return True

    async def end(self) -> None:
        if self._source is not None:
            self._source.stop()
        if self._sink is not None:
            self._sink.stop()
        if self._ours is not None:
            self._ours.close()
        await end_program(self._pid)
