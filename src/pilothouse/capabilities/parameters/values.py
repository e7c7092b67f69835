"""What a value may be: sizes by tier, data types, AllowedPattern. Error texts never hold the value."""

import ipaddress
import json
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final
from urllib.parse import urlsplit

import re2

from pilothouse.capabilities.parameters.model import (
    InvalidAllowedPatternException,
    ParameterPatternMismatchException,
    Tier,
)
from pilothouse.errors import ValidationException

STANDARD_BYTES: Final = 4096
ADVANCED_BYTES: Final = 8192
ADVANCED_DATA_TYPES: Final = frozenset({"url", "json", "jsonc"})

_LIMITS_PAGE: Final = (
    "https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-advanced-parameters.html"
)
_EMPTY: Final = (
    "1 validation error detected: Value '' at 'value' failed to satisfy constraint: "
    "Member must have length greater than or equal to 1."
)
_DOWNGRADE: Final = (
    "This parameter uses the advanced-parameter tier. You can't downgrade a parameter from the advanced-parameter tier "
    "to the standard-parameter tier. If necessary, you can delete the advanced parameter and recreate it as a standard "
    "parameter."
)

_INTEGER: Final = re.compile(r"[+-]?[0-9]+")
_FLOAT: Final = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_HOST_LABEL: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_MAIL_LOCAL: Final = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_REGION: Final = re.compile(r"[a-z]{2,}(?:-[a-z]+)+-[0-9]+")
_ACCOUNT: Final = re.compile(r"[0-9]{12}")


def check_text(value: str) -> None:
    """Rules that hold for every value. Raises ValidationException."""
    if not value:
        raise ValidationException(_EMPTY)
    opened = value.find("{{")
    if opened >= 0 and value.find("}}", opened + 2) >= 0:
        raise ValidationException('Parameter value can\'t nest another parameter. Do not use "{{}}" in the value.')


def check_storable(member: str, text: str | None) -> None:
    """Raises ValidationException for the one character that a database text cannot hold."""
    if text is not None and "\x00" in text:
        raise ValidationException(f"The member {member} can't contain the character U+0000.")


def choose_tier(
    asked: str | None, was: str | None, value: str, data_type: str, *, policies: bool, most: int = ADVANCED_BYTES
) -> Tier:
    """The tier that a new version gets.

    `asked` is the request's Tier, `was` the tier of the previous version, `most` the bytes that an Advanced value may
    have. Raises ValidationException for a value or feature that the tier does not have, and for a step back from
    Advanced.
    """
    size = len(value.encode())
    obstacle = _what_needs_advanced(size, data_type, policies=policies)
    if asked == "Intelligent-Tiering":
        tier: Tier = "Advanced" if obstacle or was == "Advanced" else "Standard"
    elif asked == "Standard" and was == "Advanced":
        raise ValidationException(_DOWNGRADE)
    elif (asked or was) == "Advanced":
        tier = "Advanced"
    elif obstacle:
        raise ValidationException(obstacle)
    else:
        tier = "Standard"
    if size > most:
        raise ValidationException(
            f"Advanced tier parameters support a maximum parameter value of {most} characters. "
            f"For more information, see {_LIMITS_PAGE}"
        )
    return tier


def _what_needs_advanced(size: int, data_type: str, *, policies: bool) -> str | None:
    if size > STANDARD_BYTES:
        return (
            f"Standard tier parameters support a maximum parameter value of {STANDARD_BYTES} characters. To create a "
            "larger parameter value, upgrade the parameter to use the advanced-parameter tier. For more information, "
            f"see {_LIMITS_PAGE}"
        )
    if policies:
        return "Parameter policies need the advanced-parameter tier. Set Tier to Advanced or Intelligent-Tiering."
    if data_type in ADVANCED_DATA_TYPES:
        return (
            f"The data type {data_type} needs the advanced-parameter tier. Set Tier to Advanced or Intelligent-Tiering."
        )
    return None


def check_pattern(pattern: str, value: str) -> None:
    """The whole value must match. Raises InvalidAllowedPatternException, ParameterPatternMismatchException."""
    compiled = _pattern(pattern)
    if compiled.programsize * len(value.encode()) > _MOST_PATTERN_STEPS:
        raise InvalidAllowedPatternException(
            f"The AllowedPattern repeats too much for a value of this length: {pattern}"
        )
    if compiled.fullmatch(value) is None:
        raise ParameterPatternMismatchException(
            f"Parameter value, cannot be validated against allowedPattern: {pattern}"
        )


_MOST_PATTERN_BYTES: Final = 256 << 10
"""Memory of one compiled pattern: some 20,000 steps. Larger ones take seconds to compile, and all wait."""
_MOST_PATTERN_STEPS: Final = 40_000_000
"""Steps of the pattern by bytes of the value: what the worst of patterns does in a third of a second."""


@lru_cache(maxsize=256)
def _pattern(pattern: str) -> Any:
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MOST_PATTERN_BYTES
    options.never_capture = True  # where groups begin and end is not asked, and finding it is a hundred times the work
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        raise InvalidAllowedPatternException(
            f"The AllowedPattern is not a valid regular expression (look-around and back references are not "
            f"supported), or it repeats too much: {pattern}"
        ) from error


def check_data_type(data_type: str, kind: str, value: str) -> None:
    """Whether the value (each member of a StringList) is of the data type. Raises ValidationException."""
    if data_type not in _CHECKS:
        raise ValidationException(
            f"The following data type is not supported: {data_type} (Data type names are all lowercase.)"
        )
    check = _CHECKS[data_type]
    if check is None:
        return
    members = value.split(",") if kind == "StringList" else [value]
    if not all(check(member) for member in members):
        raise ValidationException(f"The parameter value is not valid for the data type {data_type}.")


def _is_hostname(text: str) -> bool:
    name = text.removesuffix(".")
    return 0 < len(name) <= 253 and all(_HOST_LABEL.fullmatch(label) for label in name.split("."))


def _is_email(text: str) -> bool:
    local, _, domain = text.rpartition("@")
    return 0 < len(local) <= 64 and bool(_MAIL_LOCAL.fullmatch(local)) and _is_hostname(domain)


def _is_address(kind: type[ipaddress.IPv4Address | ipaddress.IPv6Address]) -> Callable[[str], bool]:
    def check(text: str) -> bool:
        try:
            kind(text)
        except ValueError:
            return False
        return "%" not in text

    return check


def _is_url(text: str) -> bool:
    if any(character.isspace() or ord(character) < 0x20 for character in text):
        return False
    try:
        parts = urlsplit(text)
        _ = parts.port  # a property that reads the port: raises for one out of range
    except ValueError:
        return False
    return bool(parts.scheme and parts.hostname)


def _is_json(text: str) -> bool:
    try:
        json.loads(text, parse_int=str, parse_float=str, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return False
    return True


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")  # Python would take NaN and Infinity


def _is_jsonc(text: str) -> bool:
    """JSON with comments and commas before a closing bracket."""
    plain = _without_comments(text)
    return plain is not None and _is_json(_without_trailing_commas(plain))


_JSONC_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|//[^\n]*|/\*|[^"/]+|.', re.DOTALL)


def _without_comments(text: str) -> str | None:
    kept: list[str] = []
    at = 0
    while match := _JSONC_TOKEN.match(text, at):
        piece, at = match[0], match.end()
        if piece == '"':
            return None  # a string without an end
        if piece == "/*":
            closed = text.find("*/", at)
            if closed < 0:
                return None
            at = closed + 2
        if piece.startswith(("//", "/*")):
            kept.append(" ")
        else:
            kept.append(piece)
    return "".join(kept)


_COMMA_OR_STRING: Final = re.compile(r'"(?:[^"\\]|\\.)*"|,(?=[ \t\r\n]*[}\]])', re.DOTALL)


def _without_trailing_commas(text: str) -> str:
    return _COMMA_OR_STRING.sub(lambda match: "" if match[0] == "," else match[0], text)


_CHECKS: Final[dict[str, Callable[[str], object] | None]] = {
    "text": None,
    "aws:ec2:image": None,  # the image is looked up after the answer, where a lookup is configured at all
    "aws:ssm:integration": None,
    "aws:region": _REGION.fullmatch,
    "aws:account:id": _ACCOUNT.fullmatch,
    "boolean": {"true", "false"}.__contains__,
    "integer": _INTEGER.fullmatch,
    "float": _FLOAT.fullmatch,
    "binary": None,
    "hostname": _is_hostname,
    "email": _is_email,
    "ipv4-address": _is_address(ipaddress.IPv4Address),
    "ipv6-address": _is_address(ipaddress.IPv6Address),
    "url": _is_url,
    "json": _is_json,
    "jsonc": _is_jsonc,
}
"""Data types to their check; None accepts every value."""
