"""Conditions of a policy: every operator, with IfExists, ForAnyValue, ForAllValues and Null.

Keys are compared without regard to case. A key that the request does not have makes a condition false, but for negated
operators (true), IfExists (true), ForAllValues (true) and Null. A value of the request that an operator cannot read
(a text for a number) equals nothing.
"""

import base64
import binascii
import ipaddress
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final

from pilothouse.identity.policy_patterns import SYNTAX, Lookup, MalformedPolicy, Pattern, Template, Value

Condition = Callable[[Lookup], bool]
_Holds = Callable[[str, Lookup], bool]
"""Whether one value of the request fits any value of the policy."""
_Compile = Callable[[Sequence[str], bool], _Holds]
"""From the values of a policy, and whether variables are replaced in them."""

_NUMBER: Final = re.compile(r"[+-]?(?:\d{1,64}(?:\.\d{0,64})?|\.\d{1,64})", re.ASCII)
_DATE: Final = re.compile(
    r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:T(\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?(Z|[+-]\d\d:?\d\d)?)?)?)?", re.ASCII
)
_EPOCH: Final = re.compile(r"-?\d{5,18}", re.ASCII)
_VENDOR: Final = "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc."


def compile_conditions(block: object, *, variables: bool) -> list[Condition]:
    """Every condition of a `Condition` element; all of them must hold. Raises MalformedPolicy."""
    if not isinstance(block, dict):
        raise MalformedPolicy(SYNTAX, "Condition must be an object")
    made = []
    for operator, keys in block.items():
        if not isinstance(keys, dict):
            raise MalformedPolicy(SYNTAX, f"Condition {operator} must be an object of keys and values")
        for key, values in keys.items():
            vendor, colon, rest = key.partition(":")
            if not (vendor and colon and rest):
                raise MalformedPolicy(_VENDOR, f"Condition key: {key}")
            made.append(_compile(operator, key.lower(), _texts(operator, values), variables))
    return made


def _texts(operator: str, values: object) -> list[str]:
    found = []
    for value in values if isinstance(values, list) else [values]:
        if isinstance(value, bool):
            found.append("true" if value else "false")
        elif isinstance(value, str):
            found.append(str(value))
        else:
            raise MalformedPolicy(SYNTAX, f"a value of {operator} is neither a text, a number nor a boolean")
    return found


def _compile(operator: str, key: str, values: Sequence[str], variables: bool) -> Condition:
    name = operator.lower()
    if name == "null":
        return _null(key, values)
    quantifier, colon, rest = name.partition(":")
    if not colon:
        quantifier, rest = "", name
    elif quantifier not in ("foranyvalue", "forallvalues"):
        raise MalformedPolicy(SYNTAX, f"unknown condition operator {operator}")
    plain = rest.removesuffix("ifexists")
    if_exists = plain != rest
    if plain not in _OPERATORS:
        raise MalformedPolicy(SYNTAX, f"unknown condition operator {operator}")
    compile_values, negated = _OPERATORS[plain]
    return _quantified(quantifier, key, compile_values(values, variables), negated=negated, if_exists=if_exists)


def _null(key: str, values: Sequence[str]) -> Condition:
    wanted = {_boolean(value) for value in values}

    def absent(lookup: Lookup) -> bool:
        value = lookup(key)
        return (value is None or value == ()) in wanted

    return absent


def _quantified(quantifier: str, key: str, holds: _Holds, *, negated: bool, if_exists: bool) -> Condition:
    """`holds` asks for one value; here is what that means for none and for several."""
    without = if_exists or quantifier == "forallvalues" or (negated and not quantifier)

    def condition(lookup: Lookup) -> bool:
        value = lookup(key)
        if value is None or value == ():
            return without
        if isinstance(value, str):
            return holds(value, lookup) is not negated
        if quantifier == "forallvalues":
            return all(holds(each, lookup) is not negated for each in value)
        if quantifier == "foranyvalue":
            return any(holds(each, lookup) is not negated for each in value)
        return any(holds(each, lookup) for each in value) is not negated

    return condition


def _equals(values: Sequence[str], variables: bool) -> _Holds:
    return _equal_as(values, variables, str)


def _equals_ignoring_case(values: Sequence[str], variables: bool) -> _Holds:
    return _equal_as(values, variables, str.casefold)


def _equal_as(values: Sequence[str], variables: bool, form: Callable[[str], str]) -> _Holds:
    templates = [Template(value, variables=variables, literal=True) for value in values]
    fixed = frozenset(form(each.fixed) for each in templates if each.fixed is not None)
    open_ended = [each for each in templates if each.fixed is None]
    if not open_ended:
        return lambda given, lookup: form(given) in fixed

    def holds(given: str, lookup: Lookup) -> bool:
        given = form(given)
        if given in fixed:
            return True
        return any((text := each.text(lookup)) is not None and form(text) == given for each in open_ended)

    return holds


def _like(values: Sequence[str], variables: bool) -> _Holds:
    patterns = [Pattern(value, variables=variables) for value in values]
    return lambda given, lookup: any(pattern.fits(given, lookup) for pattern in patterns)


def _arn(values: Sequence[str], variables: bool) -> _Holds:
    for value in values:
        if not value.startswith(("arn:", "*", "${")):
            raise MalformedPolicy(SYNTAX, f"{value} is not an ARN")
    patterns = [Pattern(value, variables=variables, kind="arn") for value in values]
    return lambda given, lookup: any(pattern.fits(given, lookup) for pattern in patterns)


def _compared(read: Callable[[str], Any], what: str, compare: Callable[[Any, Any], bool]) -> _Compile:
    """Values that are read at once (`read` gives None for what is none of them), then compared."""

    def compile_values(values: Sequence[str], variables: bool) -> _Holds:
        wanted = []
        for value in values:
            known = read(value)
            if known is None:
                raise MalformedPolicy(SYNTAX, f"{value} is not {what}")
            wanted.append(known)

        def holds(given: str, lookup: Lookup) -> bool:
            known = read(given)
            return known is not None and any(compare(known, each) for each in wanted)

        return holds

    return compile_values


def _number(text: str) -> Decimal | None:
    return Decimal(text) if _NUMBER.fullmatch(text) else None


@lru_cache(maxsize=1024)
def _date(text: str) -> int | None:
    """Microseconds since 1970 of a W3C date or of epoch seconds."""
    if _EPOCH.fullmatch(text):
        return int(text) * 1_000_000
    found = _DATE.fullmatch(text)
    if found is None:
        return None
    year, month, day, hour, minute, second = (int(found[at] or default) for at, default in enumerate("011000", 1))
    try:
        moment = datetime(year, month, day, hour, minute, second, tzinfo=UTC) - _offset(found[8])
    except (ValueError, OverflowError):
        return None
    whole = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1)
    return whole * 1_000_000 + int((found[7] or "").ljust(6, "0")[:6])


def _offset(zone: str | None) -> timedelta:
    if zone in (None, "Z"):
        return timedelta(0)
    hours, minutes = int(zone[1:3]), int(zone[-2:])
    if hours > 23 or minutes > 59:
        raise ValueError(zone)
    return timedelta(hours=hours, minutes=minutes) * (-1 if zone[0] == "-" else 1)


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise MalformedPolicy(SYNTAX, f"{text} is neither true nor false")
    return text.lower() == "true"


def _bool(values: Sequence[str], variables: bool) -> _Holds:
    wanted = frozenset("true" if _boolean(value) else "false" for value in values)
    return lambda given, lookup: given.lower() in wanted


def _binary(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found


def _ip(values: Sequence[str], variables: bool) -> _Holds:
    networks: list[Network] = []
    for value in values:
        try:
            networks.append(ipaddress.ip_network(value, strict=False))
        except ValueError as error:
            raise MalformedPolicy(SYNTAX, f"{value} is not an IP address or range") from error

    def holds(given: str, lookup: Lookup) -> bool:
        address = _address(given)
        return address is not None and any(address in network for network in networks)

    return holds


def _numeric(compare: Callable[[Any, Any], bool]) -> _Compile:
    return _compared(_number, "a number", compare)


def _dated(compare: Callable[[Any, Any], bool]) -> _Compile:
    return _compared(_date, "a date", compare)


def _same(given: object, wanted: object) -> bool:
    return given == wanted


def _less(given: Any, wanted: Any) -> bool:
    return bool(given < wanted)


def _at_most(given: Any, wanted: Any) -> bool:
    return bool(given <= wanted)


def _more(given: Any, wanted: Any) -> bool:
    return bool(given > wanted)


def _at_least(given: Any, wanted: Any) -> bool:
    return bool(given >= wanted)


_OPERATORS: Final[dict[str, tuple[_Compile, bool]]] = {
    "stringequals": (_equals, False),
    "stringnotequals": (_equals, True),
    "stringequalsignorecase": (_equals_ignoring_case, False),
    "stringnotequalsignorecase": (_equals_ignoring_case, True),
    "stringlike": (_like, False),
    "stringnotlike": (_like, True),
    "numericequals": (_numeric(_same), False),
    "numericnotequals": (_numeric(_same), True),
    "numericlessthan": (_numeric(_less), False),
    "numericlessthanequals": (_numeric(_at_most), False),
    "numericgreaterthan": (_numeric(_more), False),
    "numericgreaterthanequals": (_numeric(_at_least), False),
    "dateequals": (_dated(_same), False),
    "datenotequals": (_dated(_same), True),
    "datelessthan": (_dated(_less), False),
    "datelessthanequals": (_dated(_at_most), False),
    "dategreaterthan": (_dated(_more), False),
    "dategreaterthanequals": (_dated(_at_least), False),
    "bool": (_bool, False),
    "binaryequals": (_compared(_binary, "base64", _same), False),
    "ipaddress": (_ip, False),
    "notipaddress": (_ip, True),
    "arnequals": (_arn, False),
    "arnlike": (_arn, False),
    "arnnotequals": (_arn, True),
    "arnnotlike": (_arn, True),
}
"""Operator, lower case, to what compiles its values, and whether it is true when none of them fits."""

__all__ = ["Condition", "Value", "compile_conditions"]
