"""Which settings there are, what they may be, and what they are when nobody changed them.

Ids below `/ssm/` are those of the cloud service; those below `/ph/` are our own and widen its limits.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import re2

from pilothouse.errors import ApiError, ValidationException

DEFAULTS_SINCE: Final = 1_793_491_200_000
"""LastModifiedDate of a setting that has its default."""

_QUIET: Final = re2.Options()
_QUIET.log_errors = False
_ARN: Final = re.compile(r"arn:aws:ssm:([a-z0-9-]*):([0-9]{12}):servicesetting(/.+)")


class ServiceSettingNotFound(ApiError):
    """There is no such setting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A setting there is."""

    default: str
    allows: Callable[[str], bool]
    form: str
    """What it may be, for the error's text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """What an account made of a setting."""

    value: str
    modified_at: int
    modified_by: str


def _one_of(default: str, *values: str) -> Setting:
    listed = ", ".join(values)
    return Setting(default=default, allows=frozenset(values).__contains__, form=f"one of: {listed}")


def _name(pattern: str, form: str) -> Setting:
    compiled = re.compile(pattern, re.ASCII)
    return Setting(default="", allows=lambda value: compiled.fullmatch(value) is not None, form=form)


def _number(default: int, least: int, most: int) -> Setting:
    def allows(value: str) -> bool:
        return re.fullmatch(r"[1-9][0-9]{0,8}|0", value) is not None and least <= int(value) <= most

    return Setting(default=str(default), allows=allows, form=f"a number from {least} to {most}")


def _is_pattern(value: str) -> bool:
    try:
        re2.compile(value, _QUIET)
    except re2.error:
        return False
    return True


_VALUE: Final = re.compile(
    r"/aws/reference/secretsmanager/(?:[A-Za-z0-9/_+=.@-]+|[A-Za-z0-9/_+=.@-]+/\*|\*)"
    r"|(?!/aws/)/?[A-Za-z0-9_.-]+(?:/[A-Za-z0-9_.-]+)*(?:/\*)?|/\*"
)


def _are_values(value: str) -> bool:
    names = re.split(r"[\s,]+", value.strip(" ,"))
    return len(names) <= 100 and all(_VALUE.fullmatch(name) for name in names)


SETTINGS: Final[Mapping[str, Setting]] = {
    "/ssm/parameter-store/default-parameter-tier": _one_of("Standard", "Standard", "Advanced", "Intelligent-Tiering"),
    "/ssm/parameter-store/high-throughput-enabled": _one_of("false", "true", "false"),
    "/ssm/managed-instance/activation-tier": _one_of("standard", "standard", "advanced"),
    "/ssm/managed-instance/default-ec2-instance-management-role": _name(
        r"(?:[\w+=,.@-]{1,64}/)*[\w+=,.@-]{1,64}", "the name of a role"
    ),
    "/ssm/automation/customer-script-log-destination": Setting(
        default="", allows="CloudWatch".__eq__, form="one of: CloudWatch"
    ),
    "/ssm/automation/customer-script-log-group-name": _name(r"[.\-_/#A-Za-z0-9]{1,512}", "the name of a log group"),
    "/ssm/automation/enable-adaptive-concurrency": _one_of("False", "True", "False"),
    "/ssm/documents/console/public-sharing-permission": _one_of("Enable", "Enable", "Disable"),
    "/ssm/opsinsights/opscenter": _one_of("Disabled", "Enabled", "Disabled"),
    "/ssm/appmanager/appmanager-enabled": _one_of("False", "True", "False"),
    "/ph/parameter-store/max-value-bytes": _number(8192, 8192, 1_048_576),
    "/ph/parameter-store/max-page-size": _number(10, 10, 1000),
    "/ph/parameter-store/max-versions": _number(100, 100, 10_000),
    "/ph/parameter-store/trash-days": _number(30, 0, 3650),
    "/ph/sessions/recording": _one_of("on", "off", "on", "required"),
    "/ph/sessions/record-input": _one_of("false", "true", "false"),
    "/ph/sessions/masked-values": Setting(
        default="", allows=_are_values, form="names of parameters and secrets, with spaces or commas between"
    ),
    "/ph/sessions/reason-pattern": Setting(default="", allows=_is_pattern, form="a regular expression of RE2"),
}


def setting_id(asked: str, account_id: str, region: str) -> str:
    """The id of a setting asked for by id or ARN. Raises ServiceSettingNotFound."""
    found = asked
    if asked.startswith("arn:"):
        match = _ARN.fullmatch(asked)
        found = match[3] if match and (match[1], match[2]) == (region, account_id) else ""
    if found not in SETTINGS:
        raise ServiceSettingNotFound(f"The service setting {asked} was not found.")
    return found


def check_value(setting: str, value: str) -> None:
    """Raises ValidationException for a value that the setting cannot have."""
    known = SETTINGS[setting]
    if not known.allows(value):
        raise ValidationException(f"The value {value} is not valid for the setting {setting}. It must be {known.form}.")


def setting_arn(account_id: str, region: str, setting: str) -> str:
    """`arn:aws:ssm:REGION:ACCOUNT:servicesetting/ssm/...`"""
    return f"arn:aws:ssm:{region}:{account_id}:servicesetting{setting}"
