"""People who sign in, as a browser would: a POST with JSON, from an address of their own."""

import base64
import hmac
import json
import struct
from typing import Any

from pilothouse.wire.http import Request
from tests.conftest import Aws, Server

PASSWORD = "correct Horse 7 battery"


def post(server: Server, path: str, address: str = "203.0.113.5", **members: Any) -> tuple[int, dict[str, Any]]:
    """Status and answer."""
    request = Request(
        method="POST",
        path=f"/ph/v1/{path}",
        query="",
        headers={"content-type": "application/json", "host": "pilothouse.example", "user-agent": "a browser"},
        body=json.dumps(members).encode(),
        peer=address,
        secure=True,
    )
    response = server.run(server.application.front.respond(request))
    return response.status, json.loads(response.body)


def enter(server: Server, name: str, password: str = PASSWORD, **more: Any) -> dict[str, Any]:
    """The answer of a sign-in that is good."""
    status, answer = post(server, "sign-in", UserName=name, Password=password, **more)
    assert status == 200, answer
    return answer


def refused(server: Server, name: str, password: str = PASSWORD, **more: Any) -> tuple[str, str]:
    """Code and text of the refusal."""
    status, answer = post(server, "sign-in", UserName=name, Password=password, **more)
    assert status == 400, answer
    return answer["__type"].rpartition("#")[2], answer["message"]


def signed(aws: Aws, service: str, answer: dict[str, Any]) -> Any:
    """A client with the credentials of an answer."""
    made = answer["Credentials"]
    return aws(
        service, access_key=made["AccessKeyId"], secret=made["SecretAccessKey"], token=made["SessionToken"]
    )  # fmt: skip


def person(aws: Aws, name: str, *, password: str = PASSWORD, **more: Any) -> str:
    """A user with a password; the ARN."""
    made = aws("iam").create_user(UserName=name)["User"]["Arn"]
    aws("iam").create_login_profile(UserName=name, Password=password, **more)
    return str(made)


class Device:
    """A program on a phone: RFC 6238, written a second time."""

    def __init__(self, aws: Aws, server: Server, name: str) -> None:
        self.server = server
        made = aws("iam").create_virtual_mfa_device(VirtualMFADeviceName=name)["VirtualMFADevice"]
        self.serial, self.seed = made["SerialNumber"], base64.b32decode(made["Base32StringSeed"])
        self.picture = made["QRCodePNG"]

    def code(self, ahead: int = 0) -> str:
        """The code of now, or of so many steps ahead."""
        step = self.server.clock.millis() // 30_000 + ahead
        digest = hmac.digest(self.seed, struct.pack(">Q", step), "sha1")
        at = digest[-1] & 15
        return f"{(struct.unpack('>I', digest[at : at + 4])[0] & 0x7FFFFFFF) % 1_000_000:06}"

    def enable(self, aws: Aws, name: str, ahead: int = 0) -> None:
        aws("iam").enable_mfa_device(
            UserName=name, SerialNumber=self.serial,
            AuthenticationCode1=self.code(ahead - 1), AuthenticationCode2=self.code(ahead),
        )  # fmt: skip
