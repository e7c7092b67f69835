"""The bare gateway that a fan-out is measured against: the same uvicorn and TLS, the same frames, nothing stored.

`GET /send/<number>` sends a job to so many of the open websockets; each reply is taken apart and receipted at once.
"""

import asyncio
import json
import sys
import uuid
from typing import Any

import uvicorn
import uvloop

from pilothouse.gateway.frames import Frame, decode, encode
from pilothouse.gateway.payloads import AgentJobReplyAck, job, read_reply, write

_CONTENT = json.dumps({
    "Parameters": {"commands": ["true"]},
    "DocumentContent": {
        "schemaVersion": "2.2", "description": "x" * 400,
        "mainSteps": [{"action": "aws:runShellScript", "name": "runShellScript", "inputs": {"runCommand": "{{ c }}"}}],
    },
    "CommandId": str(uuid.UUID(int=1)), "DocumentName": "AWS-RunShellScript", "OutputS3BucketName": "",
    "OutputS3KeyPrefix": "", "CloudWatchLogGroupName": "", "CloudWatchOutputEnabled": "false",
})  # fmt: skip

_open: list[Any] = []


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Websockets, `/send` and `/health`."""
    if scope["type"] == "websocket":
        await _websocket(receive, send)
        return
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})
    if scope["path"].startswith("/send/"):
        for number, node in enumerate(_open[: int(scope["path"].removeprefix("/send/"))]):
            one = job(f"aws.ssm.{uuid.UUID(int=1)}.mi-{number:017x}", "aws.ssm.sendCommand", _CONTENT)
            await node(_message("agent_job", one))


async def _websocket(receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    _open.append(send)
    while (event := await receive())["type"] != "websocket.disconnect":
        frame = decode(event["bytes"])
        if frame.message_type == "agent_job_reply":
            receipt = write(AgentJobReplyAck(read_reply(frame.payload).job_id, frame.message_id))
            await send(_message("agent_job_reply_ack", receipt))
    _open.remove(send)


def _message(kind: str, payload: bytes) -> dict[str, Any]:
    return {"type": "websocket.send", "bytes": encode(Frame(kind, str(uuid.uuid4()), 1_764_000_000_000, payload))}


async def _serve(port: int, tls_port: int, certificate: str, key: str) -> None:
    shared: dict[str, Any] = {
        "ws": "websockets-sansio", "ws_per_message_deflate": False, "log_level": "warning", "access_log": False,
        "lifespan": "off", "http": "httptools",
    }  # fmt: skip
    plain = uvicorn.Config(application, port=port, **shared)
    tls = uvicorn.Config(application, port=tls_port, ssl_certfile=certificate, ssl_keyfile=key, **shared)
    await asyncio.gather(uvicorn.Server(plain).serve(), uvicorn.Server(tls).serve())


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]))
