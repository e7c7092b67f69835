"""The bare echo that the server's own share is measured against: uvicorn as Pilothouse runs it, and nothing else."""

import sys
from typing import Any

import uvicorn

BODY = (
    b'{"Parameter":{"Name":"/bench/password","Type":"SecureString","Value":"correct horse battery staple","Version":1}}'
)
HEADERS = [(b"content-type", b"application/x-amz-json-1.1"), (b"content-length", str(len(BODY)).encode())]


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Read the whole body, answer a fixed one of the size that GetParameter answers."""
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": BODY})


if __name__ == "__main__":
    uvicorn.run(
        application,
        port=int(sys.argv[1]),
        http="httptools",
        loop="uvloop",
        log_level="warning",
        access_log=False,
        lifespan="off",
        server_header=False,
        date_header=True,
    )
