"""Services of another machine, all at one address, that keep what they are asked: those that runbooks call."""

import http.server
import json
import threading
from typing import Any
from urllib.parse import parse_qs

ADDRESS = "127.0.0.9"
SERVICES = ("sqs", "lambda", "stepfunctions", "cloudformation", "ec2")
_XML = {
    "CreateStack": "<CreateStackResult><StackId>{StackName}</StackId></CreateStackResult>",
    "DescribeStacks": "<DescribeStacksResult><Stacks><member><StackId>{StackName}</StackId><StackName>s</StackName>"
    "<CreationTime>2026-01-01T00:00:00Z</CreationTime><StackStatus>{status}</StackStatus></member></Stacks>"
    "</DescribeStacksResult>",
    "RunInstances": "<instancesSet><item><instanceId>i-made</instanceId></item></instancesSet>",
    "DescribeInstances": "<reservationSet><item><instancesSet><item><instanceId>i-any</instanceId>"
    "<instanceState><name>{status}</name></instanceState></item></instancesSet></item></reservationSet>",
    "CreateImage": "<imageId>ami-made</imageId>",
    "CopyImage": "<imageId>ami-made</imageId>",
    "DescribeImages": "<imagesSet><item><imageId>ami-any</imageId><imageState>available</imageState>"
    "<blockDeviceMapping><item><ebs><snapshotId>snap-any</snapshotId></ebs></item></blockDeviceMapping>"
    "</item></imagesSet>",
}
_JSON: dict[str, dict[str, Any]] = {
    "SendMessage": {"MessageId": "m-1", "MD5OfMessageBody": ""},
    "GetQueueAttributes": {"Attributes": {"QueueArn": "there"}},
    "StartExecution": {"executionArn": "arn:execution", "startDate": 1},
    "DescribeExecution": {"executionArn": "arn:execution", "status": "SUCCEEDED", "startDate": 1},
    "Invoke": {},
    "hook": {},
}


class CountingServices:
    """They answer as if all were done at once. What is asked again with the same token is the same request."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        """(operation, request)"""
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                text = self.rfile.read(int(self.headers["content-length"])).decode()
                name = outer._name(self.path, self.headers.get("x-amz-target") or "", text)
                outer.asked.append((name, text))
                answer = outer._answer(name, text).encode()
                self.send_response(200)
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: Any) -> None:
                """Quiet."""

        self._server = http.server.ThreadingHTTPServer((ADDRESS, 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://{ADDRESS}:{self._server.server_address[1]}"

    @staticmethod
    def _name(path: str, target: str, text: str) -> str:
        if target:
            return target.rpartition(".")[2]
        if path.endswith("/invocations"):
            return "Invoke"
        return "hook" if path == "/hook" else parse_qs(text)["Action"][0]

    def _answer(self, name: str, text: str) -> str:
        if name in _JSON:
            return json.dumps(_JSON[name])
        said = {key: values[0] for key, values in parse_qs(text).items()}
        stack = said.get("StackName", "")
        status = "DELETE_COMPLETE" if self.times("DeleteStack", stack) else "CREATE_COMPLETE"
        if name == "DescribeInstances":
            status = "running" if said["InstanceId.1"] == "i-made" else "stopped"
        inner = _XML.get(name, "").format(StackName=stack, status=status)
        return f"<{name}Response>{inner}</{name}Response>"

    def requests(self, name: str, about: str) -> list[str]:
        """Those of an operation that name something."""
        return [text for each, text in list(self.asked) if each == name and about in text]

    def times(self, name: str, about: str) -> int:
        """How often that was asked."""
        return len(self.requests(name, about))

    def effects(self, name: str, about: str) -> int:
        """How often it was done: once for each token."""
        return len(set(self.requests(name, about)))

    def endpoints(self) -> str:
        """The file that [automation] endpoints names."""
        return "".join(f'[{each}]\nendpoint_url = "{self.url}"\n' for each in SERVICES)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
