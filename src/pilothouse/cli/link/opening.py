"""Begins, resumes and ends sessions, by the same operations that everybody uses; says what to do where that fails."""

import datetime
from typing import Any

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from pilothouse.cli.connections import Clients, told
from pilothouse.cli.link.channel import Started
from pilothouse.cli.link.encryption import data_keys
from pilothouse.cli.shared import Failed

_SHORT = Config(connect_timeout=3, read_timeout=10, retries={"mode": "standard", "total_max_attempts": 1})
"""While a connection is lost: many quick tries, the channel waits between them."""


class Opening:
    """Everything here blocks."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._ssm = clients.service("ssm")
        self._quick = clients.service("ssm", _SHORT)
        self.trust = clients.trust()

    def start(self, target: str, document: str | None, parameters: dict[str, list[str]], reason: str | None) -> Started:
        """StartSession. Raises Failed."""
        asked: dict[str, Any] = {"Target": target}
        asked |= {"DocumentName": document} if document else {}
        asked |= {"Parameters": parameters} if parameters else {}
        asked |= {"Reason": reason} if reason else {}
        try:
            answer = self._ssm.start_session(**asked)
        except ClientError as error:
            raise self._why(error, target, document) from error
        except BotoCoreError as error:
            raise told(error) from error
        return Started(answer["SessionId"], answer["TokenValue"], answer["StreamUrl"], target)

    def resume(self, session_id: str) -> str | None:
        """As `channel.Server`."""
        try:
            token: str | None = self._quick.resume_session(SessionId=session_id).get("TokenValue")
        except ClientError as error:
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
            if status >= 500 or "Throttl" in error.response["Error"]["Code"]:
                raise OSError(str(error)) from error
            raise told(error) from error
        except BotoCoreError as error:
            raise OSError(str(error)) from error
        return token or None

    def terminate(self, session_id: str) -> None:
        """End a session; if nobody answers, the server ends it by itself."""
        try:
            self._quick.terminate_session(SessionId=session_id)
        except (BotoCoreError, ClientError):
            return

    def keys(self, key_id: str, context: dict[str, str]) -> tuple[bytes, str]:
        """As `channel.Server`."""
        try:
            return data_keys(self._clients.service("kms"), key_id, context)
        except (BotoCoreError, ClientError) as error:
            raise told(error) from error

    def _why(self, error: ClientError, target: str, document: str | None) -> Failed:
        code, message = error.response["Error"]["Code"], error.response["Error"].get("Message") or str(error)
        if code == "TargetNotConnected":
            return Failed(self.absence(target))
        if code == "AccessDeniedException":
            what = f"the node {target} and the document {document or 'SSM-SessionManagerRunShell'}"
            return Failed(f"{message} Needed are ssm:StartSession on {what}, and ssmmessages:OpenDataChannel. ({code})")
        if code == "InvalidDocument" and document:
            return Failed(f"{message} pilothouse and aws ssm list-documents show which there are. ({code})")
        return told(error)

    def absence(self, target: str) -> str:
        """Why a node cannot be reached, and what to do."""
        try:
            found = self._ssm.describe_instance_information(Filters=[{"Key": "InstanceIds", "Values": [target]}])
        except (BotoCoreError, ClientError):
            return f"{target} is not connected"
        if not found["InstanceInformationList"]:
            return f"there is no node {target}; aws ssm describe-instance-information lists them"
        node = found["InstanceInformationList"][0]
        since = "; its agent never came" if "LastPingDateTime" not in node else _since(node["LastPingDateTime"])
        return (
            f"{_called(node)} is not connected{since}. Look there whether the machine is up and the agent runs:"
            " systemctl status pilothouse-agent (or amazon-ssm-agent)"
        )


def _called(node: dict[str, Any]) -> str:
    name = node.get("Name") or node.get("ComputerName")
    return f"{node['InstanceId']} ({name})" if name else str(node["InstanceId"])


def _since(last: datetime.datetime) -> str:
    passed = max(0, int((datetime.datetime.now(datetime.UTC) - last).total_seconds()))
    units = ((86400, "days"), (3600, "hours"), (60, "minutes"), (1, "seconds"))
    size, word = next(((size, word) for size, word in units if passed >= 2 * size), (1, "seconds"))
    return f" (last heard of {last:%Y-%m-%d %H:%M:%S} UTC, {passed // size} {word} ago)"
