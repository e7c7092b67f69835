"""Clients for commands that speak to a server: where it is and with whose key, from AWS's own settings or --data."""

import asyncio
import json
import os
import ssl
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import botocore.session
import urllib3
from botocore import UNSIGNED
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import BotoCoreError, ClientError, EndpointConnectionError, NoCredentialsError, NoRegionError

from pilothouse.cli.shared import Failed, existing_data, master_key, settings_of
from pilothouse.crypto.master_key import MasterKeyUnusable
from pilothouse.runtime.listening import client_url, read_listening

_OWN_MODELS = resources.files("pilothouse.wire") / "own-models"
_CONFIG = Config(read_timeout=600, retries={"mode": "adaptive", "max_attempts": 8})


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One place that holds parameters: what the user said of it."""

    profile: str | None = None
    endpoint_url: str | None = None
    region: str | None = None
    data: Path | None = None

    def given(self) -> bool:
        """Whether anything at all was said."""
        return any((self.profile, self.endpoint_url, self.region, self.data))


class Clients:
    """The botocore clients of one side. Raises Failed when nothing says where the server is."""

    def __init__(self, side: Side) -> None:
        self._values: dict[str, Any] = {"endpoint_url": side.endpoint_url, "region_name": side.region}
        try:
            self._session = botocore.session.Session(profile=side.profile)
            self._session.get_component("data_loader").search_paths.append(str(_OWN_MODELS))
            if side.data is not None or not (side.profile or side.endpoint_url or self._has_settings()):
                self._values |= {
                    name: value for name, value in _of_data(side.data).items() if not self._values.get(name)
                }
            self._values["region_name"] = self._values["region_name"] or os.environ.get("AWS_REGION")
        except BotoCoreError as error:
            raise Failed(str(error)) from error

    def _has_settings(self) -> bool:
        return bool(os.environ.get("AWS_ENDPOINT_URL") or self._session.get_credentials())

    def service(self, name: str, config: Config = _CONFIG) -> Any:
        """A client. Raises Failed."""
        try:
            return self._session.create_client(name, config=config, **self._values)
        except NoRegionError as error:
            raise Failed("no region is set; add --region, or set AWS_REGION") from error
        except BotoCoreError as error:
            raise Failed(str(error)) from error

    def trust(self) -> ssl.SSLContext:
        """What certificates of servers are checked against. Raises Failed."""
        bundle = self._session.get_config_variable("ca_bundle")
        try:
            return ssl.create_default_context(cafile=bundle)
        except OSError as error:
            raise Failed(f"the certificates in {bundle} (AWS_CA_BUNDLE) cannot be read: {error}") from error

    def stream(self, path: str) -> Any:
        """The open answer of a signed GET of our own service: a urllib3 response. Raises Failed."""
        client = self.service("pilothouse")
        url = client.meta.endpoint_url + path
        request = AWSRequest("GET", url)
        credentials = self._session.get_credentials()
        if "aws_access_key_id" in self._values:
            credentials = Credentials(self._values["aws_access_key_id"], self._values["aws_secret_access_key"])
        if credentials is None:
            raise told(NoCredentialsError())
        SigV4Auth(credentials, "pilothouse", client.meta.region_name).add_auth(request)
        pool = urllib3.PoolManager(ca_certs=self._session.get_config_variable("ca_bundle"))
        answer = pool.request("GET", url, headers=dict(request.headers), preload_content=False, retries=False)
        if answer.status != 200:
            try:
                refusal = json.loads(answer.read())
            except ValueError:
                refusal = {}
            raise Failed(
                f"{refusal.get('message') or 'the server refused it'} ({refusal.get('__type', answer.status)})"
            )
        return answer


def unsigned(name: str, endpoint_url: str) -> Any:
    """A client of those who have no credentials yet. Raises Failed."""
    session = botocore.session.Session()
    session.get_component("data_loader").search_paths.append(str(_OWN_MODELS))
    config = Config(signature_version=UNSIGNED, retries={"mode": "standard", "total_max_attempts": 1})
    try:
        return session.create_client(name, config=config, endpoint_url=endpoint_url, region_name="us-east-1")
    except (BotoCoreError, ValueError) as error:
        raise Failed(str(error)) from error


def _of_data(option: Path | None) -> dict[str, str]:
    from pilothouse.capabilities import access  # commands that are told where the server is start sooner without it

    data = existing_data(option)
    settings = settings_of(data)
    try:
        root = asyncio.run(access.read_root(master_key(settings), data))
    except (MasterKeyUnusable, OSError) as error:
        raise Failed(str(error)) from error
    if root is None:
        raise Failed(f"{data / 'root.sealed'} does not open with this master key; is it another installation's?")
    listening = read_listening(data) or {"http": settings.http}
    return {
        "endpoint_url": client_url("http", listening["http"]),
        "region_name": settings.region,
        "aws_access_key_id": root.access_key_id,
        "aws_secret_access_key": root.secret,
    }


def told(error: Exception) -> Failed:
    """A fault of a call as a sentence that says what to do."""
    if isinstance(error, ClientError):
        answer = error.response["Error"]
        return Failed(f"{answer.get('Message') or error} ({answer['Code']})")
    if isinstance(error, EndpointConnectionError):
        return Failed(f"{error}; is the server running, and is the address right (AWS_ENDPOINT_URL, --endpoint-url)?")
    if isinstance(error, NoCredentialsError):
        return Failed('no credentials; run eval "$(pilothouse env)", or name them with --profile or --data')
    return Failed(str(error))
