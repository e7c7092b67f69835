"""Operations of services that are not here: asked of the endpoints that the operator configured, by botocore.

`[automation] endpoints` names a file of TOML with a table for each service:

    [ec2]
    endpoint_url = "https://ec2.lab.example"    # left out: AWS itself
    profile = "lab"                             # of the AWS configuration of the server's user; left out: its default
    region = "eu-west-1"                        # left out: that of the execution

Whoever acts must be allowed to call the operation by policies here; the credentials are the operator's.
"""

import asyncio
import re
import tomllib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from pilothouse.capabilities.automation.actions.interface import Errand, FailureType, StepFailed, type_of
from pilothouse.identity.authorise import may
from pilothouse.runtime.settings import Settings

_READS: Final = re.compile(r"(?:Describe|Get|List|Head|Search|Scan|Query|BatchGet|Lookup|Check|Validate)[A-Z].*")
_SECONDS: Final = 60
_MEMBERS: Final = frozenset({"endpoint_url", "profile", "region", "ca_file"})


def endpoints(settings: Settings) -> Mapping[str, Mapping[str, str]]:
    """The configured services. Raises StepFailed for a file that cannot be used."""
    path = settings.automation.endpoints
    if not path:
        return {}
    file = Path(path) if Path(path).is_absolute() else settings.data / path
    try:
        found = tomllib.loads(file.read_text("utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise StepFailed(
            f"[automation] endpoints cannot be read: {type(error).__name__}.", FailureType.INTERNAL
        ) from error
    for service, table in found.items():
        if not isinstance(table, Mapping) or not set(table) <= _MEMBERS:
            raise StepFailed(
                f"[automation] endpoints: [{service}] has {', '.join(sorted(_MEMBERS))} and nothing else.",
                FailureType.INTERNAL,
            )
    return found


@lru_cache(maxsize=64)
def _model(service: str) -> Any:
    import botocore.session  # 11 MiB with what it loads, and few servers are told of other endpoints

    session = botocore.session.get_session()
    return session.get_service_model(service) if service in session.get_available_services() else None


def _folded(name: str) -> str:
    return name.replace("_", "").replace("-", "").lower()


def operation_named(settings: Settings, service: str, api: str) -> str:
    """The operation's own name. Raises StepFailed that says what to configure where the service is not to be had."""
    model = _model(service)
    if model is None:
        raise StepFailed(f"There is no service named {service}.", stage="InputValidation")
    name = next((each for each in model.operation_names if _folded(each) == _folded(api)), None)
    if name is None:
        raise StepFailed(f"The service {service} has no operation named {api}.", stage="InputValidation")
    if service not in endpoints(settings):
        raise StepFailed(
            f"The operation {service}:{name} is not available here, and no endpoint is configured for {service}: add "
            f"[{service}] to the file that [automation] endpoints names."
        )
    return str(name)


def is_repeatable(service: str, name: str) -> bool:
    """Whether calling it twice does no harm: it only reads, or it carries a client token."""
    return bool(_READS.fullmatch(name)) or bool(_token_members(service, name))


def _token_members(service: str, name: str) -> list[str]:
    return list(_model(service).operation_model(name).idempotent_members)


async def call(errand: Errand, service: str, name: str, request: Mapping[str, Any]) -> Mapping[str, Any]:
    """The answer of the service. Raises StepFailed, with the code that it answered."""
    action = f"{service}:{name}"
    who = errand.who
    if who.permissions is not None and not may(who, action, "*"):
        raise StepFailed(f"{who.arn} is not authorized to perform {action}.", FailureType.PERMISSION)
    said = dict(request)
    for member in _token_members(service, name):
        said.setdefault(member, errand.token)
    table = endpoints(errand.house.settings).get(service, {})
    return await asyncio.to_thread(_called, table, errand.region, service, name, said)


def _called(
    table: Mapping[str, str], region: str, service: str, name: str, request: Mapping[str, Any]
) -> Mapping[str, Any]:
    import botocore.session
    from botocore import xform_name
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError

    try:
        session = botocore.session.Session(profile=table.get("profile") or None)
        client = session.create_client(
            service,
            region_name=table.get("region") or region,
            endpoint_url=table.get("endpoint_url") or None,
            verify=table.get("ca_file") or None,
            config=Config(
                connect_timeout=10, read_timeout=_SECONDS, retries={"max_attempts": 1}, parameter_validation=True
            ),
        )
        answer = getattr(client, xform_name(name))(**request)
    except ClientError as error:
        told = error.response.get("Error", {})
        code = str(told.get("Code") or "Unknown")
        raise StepFailed(f"{code}: {told.get('Message') or ''}", type_of(code)) from error
    except ParamValidationError as error:
        raise StepFailed(f"{error}", stage="InputValidation") from error
    except BotoCoreError as error:
        raise StepFailed(f"The service {service} cannot be called: {error}.") from error
    return {member: value for member, value in answer.items() if member != "ResponseMetadata"}
