"""A slow evaluator of policies, written from docs/reference/policy-language.md; it shares no code with the product."""

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from ipaddress import ip_address, ip_network
from typing import Any

Request = Mapping[str, Any]
"""`action`, `resource`, `keys` (condition keys in lower case to a text or a tuple of texts), and for resource policies
`arn`, `account` and `role` of who asks (`role` is empty but for sessions)."""


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _expression(text: str, keys: Mapping[str, Any], *, literal: bool = False) -> str | None:
    """A regular expression of a text with wildcards and variables; None: a variable has no single value."""
    made = []
    for piece in re.split(r"(\$\{[^}]*\})", text):
        if piece.startswith("${"):
            name, _, default = piece[2:-1].partition(",")
            if name in ("*", "?", "$"):
                made.append(re.escape(name))
                continue
            value = keys.get(name.strip().lower(), default.strip().strip("'\"") if default else None)
            if not isinstance(value, str):
                return None
            made.append(re.escape(value))
        elif literal:
            made.append(re.escape(piece))
        else:
            made += [".*" if each == "*" else "." if each == "?" else re.escape(each) for each in piece]
    return "".join(made)


def _text_fits(wanted: str, given: str, keys: Mapping[str, Any], *, literal: bool = False) -> bool:
    expression = _expression(wanted, keys, literal=literal)
    return expression is not None and re.fullmatch(expression, given, re.DOTALL) is not None


def _arn_fits(wanted: str, given: str, keys: Mapping[str, Any]) -> bool:
    if wanted == "*":
        return True
    held: list[str] = []
    hidden = re.sub(r"\$\{[^}]*\}", lambda found: held.append(found[0]) or f"\0{len(held) - 1}\0", wanted)
    parts = [re.sub("\0(\\d+)\0", lambda found: held[int(found[1])], part) for part in hidden.split(":", 5)]
    others = given.split(":", 5)
    if len(parts) != 6 or len(others) != 6:
        return False
    return all(_text_fits(part, other, keys) for part, other in zip(parts, others, strict=True))


def _compare(name: str, given: Any, wanted: Any) -> bool:
    return {
        "equals": given == wanted,
        "lessthan": given < wanted,
        "lessthanequals": given <= wanted,
        "greaterthan": given > wanted,
        "greaterthanequals": given >= wanted,
    }[name]


def _one(operator: str, given: str, wanted: str, keys: Mapping[str, Any]) -> bool:
    """Whether one value of the request fits one of the policy, by an operator without Not."""
    if operator == "stringequals":
        return _text_fits(wanted, given, keys, literal=True)
    if operator == "stringequalsignorecase":
        return _text_fits(wanted.lower(), given.lower(), {k: str(v).lower() for k, v in keys.items()}, literal=True)
    if operator == "stringlike":
        return _text_fits(wanted, given, keys)
    if operator in ("arnequals", "arnlike"):
        return _arn_fits(wanted, given, keys)
    if operator == "bool":
        return given.lower() == wanted.lower()
    try:
        if operator == "binaryequals":
            return base64.b64decode(given, validate=True) == base64.b64decode(wanted, validate=True)
        if operator.startswith("date"):
            return _compare(operator.removeprefix("date"), _moment(given), _moment(wanted))
        if operator == "ipaddress":
            return ip_address(given) in ip_network(wanted, strict=False)
        return _compare(operator.removeprefix("numeric"), Decimal(given), Decimal(wanted))
    except (ValueError, InvalidOperation, binascii.Error):
        return False


def _moment(text: str) -> float:
    """Seconds since 1970 of a date; a date without a zone is UTC."""
    if re.fullmatch(r"\d+", text):
        return float(text)
    found = datetime.fromisoformat(text)
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def _condition(operator: str, key: str, wanted: list[str], keys: Mapping[str, Any]) -> bool:
    value = keys.get(key.lower())
    name = operator.lower()
    if name == "null":
        return any((value is None) == (each.lower() == "true") for each in wanted)
    quantifier, _, rest = name.rpartition(":")
    plain = rest.removesuffix("ifexists")
    negated = "not" in plain
    if value is None:
        return plain != rest or quantifier == "forallvalues" or (negated and not quantifier)
    given = [value] if isinstance(value, str) else list(value)
    fits = [any(_one(plain.replace("not", ""), each, want, keys) for want in wanted) for each in given]
    if quantifier == "forallvalues":
        return all(fit != negated for fit in fits)
    if quantifier == "foranyvalue":
        return any(fit != negated for fit in fits)
    return any(fits) != negated


def _named(principal: Any, request: Request) -> bool:
    """Whether a Principal element speaks of who asks."""
    if principal == "*":
        return True
    for text in _listed(principal.get("AWS", [])):
        account = text.split(":")[4] if re.fullmatch(r"arn:aws:iam::\d{12}:root", text) else text
        if text == "*" or account == request["account"] or text in (request["arn"], request["role"] or None):
            return True
    return False


def _applies(statement: Mapping[str, Any], request: Request, *, variables: bool) -> bool:
    keys = request["keys"]
    for element, wanted in (("Principal", True), ("NotPrincipal", False)):
        if element in statement and _named(statement[element], request) != wanted:
            return False
    if not variables:
        statement = _plain(statement)
    action = request["action"].lower()
    names = _listed(statement.get("Action", statement.get("NotAction")))
    if any(_text_fits(each.lower(), action, {}) for each in names) != ("Action" in statement):
        return False
    resources = _listed(statement.get("Resource", statement.get("NotResource")))
    if any(_arn_fits(each, request["resource"], keys) for each in resources) != ("Resource" in statement):
        return False
    return all(
        _condition(operator, key, _listed(wanted), keys)
        for operator, block in statement.get("Condition", {}).items()
        for key, wanted in block.items()
    )


def _plain(value: Any) -> Any:
    """Documents of the older version, which knows no variables: the dollar is a plain character there."""
    if isinstance(value, str):
        return value.replace("${", "${$}{")
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    return value


def said(documents: Iterable[Mapping[str, Any]], request: Request) -> str:
    """`deny`, `allow` or `neutral` of several policies together."""
    effects = {
        each["Effect"]
        for one in documents
        for each in one["Statement"]
        if _applies(each, request, variables=one.get("Version") == "2012-10-17")
    }
    return "deny" if "Deny" in effects else "allow" if "Allow" in effects else "neutral"


def together(
    own: list[Any],
    on_resource: list[Any],
    request: Request,
    *,
    boundary: list[Any] | None = None,
    session: list[Any] | None = None,
) -> str:
    """Of policies of a principal and of a resource of its account, as AWS's user guide tells it."""
    everything = [*own, *on_resource, *(boundary or []), *(session or [])]
    if said(everything, request) == "deny":
        return "deny"
    by_identity = said(own, request) == "allow"
    within = all(said(each, request) == "allow" for each in (boundary, session) if each is not None)
    itself = role = False
    for document in on_resource:
        for statement in document["Statement"]:
            if not _applies(statement, request, variables=document.get("Version") == "2012-10-17"):
                continue
            named = statement.get("Principal")
            if statement["Effect"] != "Allow" or named is None:
                continue
            texts = ["*"] if named == "*" else _listed(named.get("AWS", []))
            itself = itself or request["arn"] in texts
            role = role or "*" in texts or (request["role"] or "-") in texts
    return "allow" if itself or (within and (role or by_identity)) else "neutral"


def verdict(
    own: list[Any], request: Request, *, boundary: list[Any] | None = None, session: list[Any] | None = None
) -> str:
    """Of policies of a principal, with the boundary and the session's policies where there are some."""
    found = [said(each, request) for each in (own, boundary, session) if each is not None]
    return "deny" if "deny" in found else "allow" if set(found) == {"allow"} else "neutral"
