"""Calls the agent makes: JSON 1.1 operations of SSM and ec2messages, and CreateControlChannel.

Every call but registration and the role token is signed with the role credentials.
"""

import json
import re
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from pilothouse_agent.link.https import Endpoint, Response, Unreachable
from pilothouse_agent.link.signing import Credentials, Unsigned, query_string, sign, sign_with_key

SSM = "AmazonSSM"
MESSAGES = "EC2WindowsMessageDeliveryService"
LOGS = "Logs_20140328"
KMS = "TrentService"
_SIGNING_NAMES = {SSM: "ssm", MESSAGES: "ec2messages", LOGS: "logs", KMS: "kms"}
EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired"})
_TOKEN_VALUE = re.compile(r"<TokenValue>([^<]+)</TokenValue>")

Shape = dict[str, Any]


class ApiError(Exception):
    """The server answered with an error; code is its wire name."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}" if message else code)
        self.status = status
        self.code = code
        self.message = message

    @property
    def may_pass(self) -> bool:
        """Whether the same request may be answered another time: the fault is the server's, or of the moment."""
        return self.status >= 500 or self.code.startswith(("Throttling", "ExpiredToken", "TooManyUpdates"))


class CredentialSource(Protocol):
    """Who has the role credentials."""

    async def current(self) -> Credentials:
        """Wait for credentials that have not expired."""

    def refuse(self, credentials: Credentials) -> None:
        """The server calls these credentials expired."""


class NodeApi:
    """The server, as this node may call it."""

    def __init__(self, endpoint: Endpoint, instance_id: str, region: str, credentials: CredentialSource) -> None:
        self.endpoint = endpoint
        self.instance_id = instance_id
        self.region = region
        self._credentials = credentials

    async def call(self, service: str, operation: str, request: Shape, *, timeout: float = 20.0) -> Shape:
        """One operation. Expired credentials are renewed and the call repeated once. Raises ApiError, Unreachable."""
        body = json.dumps(request).encode()
        for last_try in (False, True):
            credentials = await self._credentials.current()
            unsigned = json_request(self.endpoint.authority, service, operation, body, self.region)
            response = await self.endpoint.request("POST", "/", sign(unsigned, credentials), body, timeout=timeout)
            try:
                return json_answer(response)
            except ApiError as error:
                if last_try or error.code not in EXPIRED:
                    raise
                self._credentials.refuse(credentials)
        raise AssertionError("unreachable")

    async def create_control_channel(self) -> str:
        """The token that opens the control channel. Raises ApiError, Unreachable."""
        return await self._create_channel(f"/v1/control-channel/{self.instance_id}", {})

    async def create_data_channel(self, session_id: str) -> str:
        """The token that opens the session's data channel. Raises ApiError, Unreachable."""
        return await self._create_channel(f"/v1/data-channel/{session_id}", {"ClientId": ""})

    async def _create_channel(self, path: str, members: Mapping[str, str]) -> str:
        body = json.dumps({"MessageSchemaVersion": "1.0", "RequestId": str(uuid.uuid4()), **members}).encode()
        headers = {"host": self.endpoint.authority, "content-type": "application/json"}
        credentials = await self._credentials.current()
        signed = sign(self._messages_request("POST", path, {}, headers, body), credentials)
        response = await self.endpoint.request("POST", path, signed, body, timeout=15.0)
        text = response.body.decode("utf-8", "replace")
        if response.status != 201:
            code = _xml_code(text)
            if code in EXPIRED:
                self._credentials.refuse(credentials)
            raise ApiError(response.status, code, text[:200])
        found = _TOKEN_VALUE.search(text)
        if found is None:
            raise Unreachable("the answer to the request for a channel has no token")
        return found.group(1)

    async def control_channel_request(self) -> tuple[str, dict[str, str]]:
        """Target and signed headers of the websocket request."""
        return await self._open_channel(
            f"/v1/control-channel/{self.instance_id}", {"role": "subscribe", "stream": "input"}
        )

    async def data_channel_request(self, session_id: str) -> tuple[str, dict[str, str]]:
        """The same for the data channel of a session."""
        return await self._open_channel(f"/v1/data-channel/{session_id}", {"role": "publish_subscribe"})

    async def _open_channel(self, path: str, query: Mapping[str, str]) -> tuple[str, dict[str, str]]:
        unsigned = self._messages_request("GET", path, query, {"host": self.endpoint.authority}, b"")
        signed = sign(unsigned, await self._credentials.current())
        return f"{path}?{query_string(query)}", signed

    def _messages_request(
        self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: bytes
    ) -> Unsigned:
        return Unsigned(
            method=method, path=path, query=query, headers=headers, body=body,
            region=self.region, service="ssmmessages",
        )  # fmt: skip


async def register(
    endpoint: Endpoint, *, activation_id: str, activation_code: str, public_key: str, fingerprint: str
) -> str:
    """RegisterManagedInstance, unsigned; the id of the new node. Raises ApiError, Unreachable."""
    request = {
        "ActivationCode": activation_code,
        "ActivationId": activation_id,
        "Fingerprint": fingerprint,
        "PublicKey": public_key,
        "PublicKeyType": "Rsa",
    }
    body = json.dumps(request).encode()
    headers = {"content-type": "application/x-amz-json-1.1", "x-amz-target": f"{SSM}.RegisterManagedInstance"}
    answer = json_answer(await endpoint.request("POST", "/", headers, body))
    instance_id = answer.get("InstanceId")
    if not isinstance(instance_id, str) or not re.fullmatch(r"[A-Za-z0-9_-]{10,64}", instance_id):
        raise Unreachable("the answer to RegisterManagedInstance has no usable InstanceId")
    return instance_id


async def role_token(
    endpoint: Endpoint, *, instance_id: str, region: str, fingerprint: str, rsa: Callable[[bytes], Awaitable[bytes]]
) -> Credentials:
    """RequestManagedInstanceRoleToken, signed with the node's key. Raises ApiError, Unreachable."""
    body = json.dumps({"Fingerprint": fingerprint}).encode()
    unsigned = json_request(endpoint.authority, SSM, "RequestManagedInstanceRoleToken", body, region)
    headers = await sign_with_key(unsigned, instance_id, rsa)
    answer = json_answer(await endpoint.request("POST", "/", headers, body))
    try:
        return Credentials(
            access_key_id=answer["AccessKeyId"],
            secret_access_key=answer["SecretAccessKey"],
            session_token=answer["SessionToken"],
            expires_at=float(answer["TokenExpirationDate"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise Unreachable("the answer to RequestManagedInstanceRoleToken is incomplete") from error


def json_request(authority: str, service: str, operation: str, body: bytes, region: str) -> Unsigned:
    """A call of a JSON 1.1 operation, to be signed."""
    headers = {
        "content-length": str(len(body)),
        "content-type": "application/x-amz-json-1.1",
        "host": authority,
        "x-amz-target": f"{service}.{operation}",
    }
    return Unsigned(
        method="POST", path="/", query={}, headers=headers, body=body, region=region, service=_SIGNING_NAMES[service]
    )


def json_answer(response: Response) -> Shape:
    """The answer of a JSON 1.1 operation. Raises ApiError, Unreachable."""
    try:
        answer = json.loads(response.body) if response.body.strip() else {}
    except ValueError as error:
        raise Unreachable(f"HTTP {response.status} with a body that is not JSON") from error
    if not isinstance(answer, dict):
        raise Unreachable(f"HTTP {response.status} with a body that is no JSON object")
    if response.status == 200:
        return answer
    code = str(answer.get("__type", f"HTTP{response.status}")).rpartition("#")[2]
    raise ApiError(response.status, code, str(answer.get("message", answer.get("Message", "")))[:500])


def _xml_code(text: str) -> str:
    """The error's element name; AccessDeniedException is looked for as the protocol says, anywhere in the text."""
    if "<AccessDeniedException>" in text:
        return "AccessDeniedException"
    found = re.search(r"<([A-Za-z]+)>", text)
    return found.group(1) if found else "UnknownException"
