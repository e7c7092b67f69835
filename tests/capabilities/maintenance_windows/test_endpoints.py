"""Functions and state machines at an endpoint that speaks the cloud's API and verifies signatures with botocore."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from tests.capabilities.commands.conftest import Node, Until, until  # noqa: F401 -- a fixture
from tests.capabilities.maintenance_windows.conftest import Windows
from tests.conftest import Aws, Server, open_server

from pilothouse.capabilities import access, access_requests
from pilothouse.capabilities import nodes as nodes_face
from pilothouse.runtime.clock import TestClock
from pilothouse.runtime.settings import MaintenanceWindowSettings, OutboundSettings

KEYS = "[default]\naws_access_key_id = AKIAEXAMPLE\naws_secret_access_key = secret/of+them\n"
TRUST = json.dumps({
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "ssm.amazonaws.com"}, "Action": "sts:AssumeRole"}],
})  # fmt: skip
NO_TARGETS: Mapping[str, Any] = {"Targets": None, "MaxConcurrency": None, "MaxErrors": None}

Answer = tuple[int, dict[str, str], bytes]
Nodes = Callable[..., Node]


class Endpoint:
    """Keeps the calls whose signatures are right, and answers as it is told."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, str], bytes]] = []
        self.refused = 0
        self.secret: Callable[[str, str | None], str] = lambda _key, _token: "secret/of+them"
        self.answer: Callable[[], Answer] = lambda: (200, {"x-amzn-RequestId": "request-1"}, b'"done"')
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                if outer.verified(self.path, headers, body):
                    outer.calls.append((self.path, headers, body))
                    status, more, content = outer.answer()
                else:
                    outer.refused += 1
                    status, more, content = 403, {}, b'{"Message": "The request signature does not match."}'
                self.send_response(status)
                for name, value in (more | {"content-length": str(len(content))}).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def verified(self, path: str, headers: Mapping[str, str], body: bytes) -> bool:
        """Whether botocore would have signed the request so."""
        scope, signed = headers["authorization"].split("Credential=")[1].split(", ")[:2]
        key, _, region, service, _ = scope.split("/")
        names = signed.removeprefix("SignedHeaders=").split(";")
        token = headers.get("x-amz-security-token")
        request = AWSRequest(
            method="POST", url=f"{self.url}{path}", data=body,
            headers={name: headers[name] for name in names if name != "host"},
        )  # fmt: skip
        request.context["timestamp"] = headers["x-amz-date"]
        signer = SigV4Auth(Credentials(key, self.secret(key, token), token), service, region)
        canonical = signer.canonical_request(request)
        signature = signer.signature(signer.string_to_sign(request, canonical), request)
        return headers["authorization"].endswith(f"Signature={signature}")

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def database_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('database')}/test.db"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    made = Endpoint()
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def keys_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys") / "credentials"


@pytest.fixture(scope="module")
def server(
    database_url: str, tmp_path_factory: pytest.TempPathFactory, clock: TestClock, endpoint: Endpoint, keys_file: Path
) -> Iterator[Server]:
    windows = MaintenanceWindowSettings(
        lambda_endpoint=endpoint.url, step_functions_endpoint=f"{endpoint.url}/", credentials_file=str(keys_file)
    )
    outbound = OutboundSettings(allow=("127.0.0.1/32",))
    folder = tmp_path_factory.mktemp("server")
    with open_server(database_url, folder, clock, outbound=outbound, maintenance_windows=windows) as opened:
        yield opened


@pytest.fixture
def own(aws: Aws) -> Any:
    return aws("pilothouse")


@pytest.fixture
def keys(keys_file: Path, endpoint: Endpoint) -> Iterator[Path]:
    """Credentials that the operator named, and an endpoint in its first state."""
    keys_file.write_text(KEYS)
    answer, secret = endpoint.answer, endpoint.secret
    endpoint.calls.clear()
    yield keys_file
    endpoint.answer, endpoint.secret = answer, secret


def test_a_function_is_invoked_by_the_clouds_api(windows: Windows, own: Any, endpoint: Endpoint, keys: Path) -> None:
    window_id = windows.make()
    windows.task(window_id, TaskType="LAMBDA", TaskArn="tidy-up", **NO_TARGETS, TaskInvocationParameters={
        "Lambda": {"Payload": b'{"window": "{{WINDOW_ID}}"}', "Qualifier": "live", "ClientContext": "e30="},
    })  # fmt: skip
    execution = windows.ended(own.run_maintenance_window(WindowId=window_id), "SUCCESS")
    ((path, headers, body),) = endpoint.calls
    account = windows.server.application.root.account_id
    name = f"arn%3Aaws%3Alambda%3Aeu-west-1%3A{account}%3Afunction%3Atidy-up"
    assert path == f"/2015-03-31/functions/{name}/invocations?Qualifier=live"
    assert "/eu-west-1/lambda/aws4_request" in headers["authorization"]
    assert (headers["x-amz-client-context"], headers["x-amz-invocation-type"]) == ("e30=", "RequestResponse")
    assert json.loads(body) == {"window": window_id}
    assert windows.invocations(execution)[0]["ExecutionId"] == "request-1"


@pytest.mark.parametrize(("answer", "says"), [
    ((200, {"X-Amz-Function-Error": "Unhandled"}, b'{"errorType": "KeyError", "errorMessage": "a secret"}'),
     "The function ended with an error: KeyError"),
    ((404, {}, b'{"Type": "User", "Message": "Function not found: tidy-up"}'), "answered 404: "),
    ((403, {"x-amzn-ErrorType": "AccessDeniedException:http"}, b"{}"), "answered 403: AccessDeniedException"),
])  # fmt: skip
def test_what_a_function_or_its_endpoint_refuses_is_told(
    windows: Windows, own: Any, endpoint: Endpoint, keys: Path, answer: Answer, says: str
) -> None:
    endpoint.answer = lambda: answer
    window_id = windows.make()
    windows.task(window_id, TaskType="LAMBDA", TaskArn="tidy-up", **NO_TARGETS, TaskInvocationParameters=None)
    execution = windows.ended(own.run_maintenance_window(WindowId=window_id), "FAILED")
    (invocation,) = windows.invocations(execution)
    assert says in invocation["StatusDetails"]
    assert "a secret" not in invocation["StatusDetails"]
    assert len(endpoint.calls) == 1


def test_a_throttled_call_is_made_again(
    windows: Windows, own: Any, endpoint: Endpoint, keys: Path, server: Server, until: Until  # noqa: F811
) -> None:  # fmt: skip
    answers: list[Answer] = [(429, {}, b"{}"), (200, {}, b"{}")]
    endpoint.answer = lambda: answers.pop(0)
    window_id = windows.make()
    windows.task(window_id, TaskType="LAMBDA", TaskArn="tidy-up", **NO_TARGETS, TaskInvocationParameters=None)
    execution = own.run_maintenance_window(WindowId=window_id)
    until(lambda: len(endpoint.calls) == 1)
    until(lambda: server.advance(seconds=6) or len(endpoint.calls) == 2)
    windows.ended(execution, "SUCCESS")


def test_state_machines_are_started_for_each_node(
    windows: Windows, own: Any, endpoint: Endpoint, keys: Path, nodes: Nodes
) -> None:
    made = {nodes(online=False).id for _ in range(2)}
    window_id = windows.make()
    target_id = windows.target(window_id)
    machine = "arn:aws:states:eu-west-1:123456789012:stateMachine:tidy"
    endpoint.answer = lambda: (200, {}, json.dumps({"executionArn": f"{machine}:1", "startDate": 1.5}).encode())
    windows.task(window_id, target_id, TaskType="STEP_FUNCTIONS", TaskArn=machine, TaskInvocationParameters={
        "StepFunctions": {"Name": "{{INVOCATION_ID}}", "Input": '{"node": "{{TARGET_ID}}"}'},
    })  # fmt: skip
    execution = windows.ended(own.run_maintenance_window(WindowId=window_id), "SUCCESS")
    said = [json.loads(body) for _, _, body in endpoint.calls]
    assert {json.loads(each["input"])["node"] for each in said} == made
    assert {each["stateMachineArn"] for each in said} == {machine}
    invocations = windows.invocations(execution)
    assert {each["name"] for each in said} == {each["InvocationId"] for each in invocations}
    assert {each["ExecutionId"] for each in invocations} == {f"{machine}:1"}
    path, headers, _ = endpoint.calls[0]
    assert (path, headers["content-type"]) == ("/", "application/x-amz-json-1.0")
    assert headers["x-amz-target"] == "AWSStepFunctions.StartExecution"
    endpoint.answer = lambda: (
        400, {}, b'{"__type": "com.amazonaws.swf#ExecutionAlreadyExists", "message": "Execution Already Exists"}',
    )  # fmt: skip
    failed = windows.ended(own.run_maintenance_window(WindowId=window_id), "FAILED")
    details = {each.get("StatusDetails", "") for each in windows.invocations(failed)}
    assert "The endpoint answered 400: ExecutionAlreadyExists Execution Already Exists" in details


def test_without_keys_of_the_operator_a_session_of_the_role_signs(
    windows: Windows, own: Any, endpoint: Endpoint, keys: Path, server: Server, aws: Any, role: str
) -> None:
    house = server.application.house
    given = house.settings.maintenance_windows
    object.__setattr__(given, "credentials_file", "")
    try:
        iam = aws("iam")
        arn = iam.create_role(RoleName=role, AssumeRolePolicyDocument=TRUST)["Role"]["Arn"]
        iam.put_role_policy(RoleName=role, PolicyName="call", PolicyDocument=json.dumps({
            "Version": "2012-10-17",
            "Statement": [{"Effect": "Allow", "Action": "lambda:InvokeFunction", "Resource": "*"}],
        }))  # fmt: skip
        known = access.AccessCredentials(house, nodes_face.Rights(house).of, access_requests.granted)
        endpoint.secret = lambda key, token: server.run(known.find(key, token)).secret
        window_id = windows.make()
        of = {"TaskType": "LAMBDA", "TaskArn": "tidy-up", **NO_TARGETS, "TaskInvocationParameters": None}
        windows.task(window_id, **of, ServiceRoleArn=arn)
        windows.ended(own.run_maintenance_window(WindowId=window_id), "SUCCESS")
        _, headers, _ = endpoint.calls[-1]
        found = server.run(known.find(headers["authorization"].split("/")[0].split("=")[1],
                                      headers["x-amz-security-token"]))  # fmt: skip
        assert found.principal.arn.endswith(f":assumed-role/{role}/{window_id}")
        bare = windows.make()
        windows.task(bare, **of)
        failed = windows.ended(own.run_maintenance_window(WindowId=bare), "FAILED")
        assert "give the task a ServiceRoleArn" in windows.invocations(failed)[0]["StatusDetails"]
    finally:
        object.__setattr__(given, "credentials_file", str(keys))


def test_keys_that_cannot_be_used_are_told_without_showing_them(
    windows: Windows, own: Any, endpoint: Endpoint, keys: Path
) -> None:
    keys.write_text("[default]\naws_access_key_id = AKIAEXAMPLE\nsecret/of+them\n")
    window_id = windows.make()
    windows.task(window_id, TaskType="LAMBDA", TaskArn="tidy-up", **NO_TARGETS, TaskInvocationParameters=None)
    execution = windows.ended(own.run_maintenance_window(WindowId=window_id), "FAILED")
    details = windows.invocations(execution)[0]["StatusDetails"]
    assert "credentials_file of [maintenance_windows] cannot be used" in details
    assert "secret/of" not in details
    assert endpoint.refused == 0
