"""The policy language: documents, what they say of a request, and why one is refused.

Pure: no input or output. `parse` compiles a document once and keeps it by its text; a `Policy` keeps, for each action
it was asked about, the statements that speak of it, so that a verdict looks at those alone.
Elements and operators are those of docs/reference/policy-language.md.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from typing import Any, Final, Literal

from pilothouse.identity.policy_conditions import Condition, compile_conditions
from pilothouse.identity.policy_patterns import SYNTAX, MalformedPolicy, Match, Pattern, Value, matcher, wildcards
from pilothouse.identity.policy_principals import Principals, Reach, compile_principals

__all__ = [
    "REACHES",
    "Ask",
    "Decision",
    "MalformedPolicy",
    "Policy",
    "PolicyKind",
    "Statement",
    "Verdict",
    "parse",
    "size",
]

PolicyKind = Literal["identity", "resource", "trust"]
"""Of users, groups, roles and sessions; of a resource; of a role, about who may take it on."""
PrincipalKind = Literal["root", "user", "session", "node", "anonymous", "service", "federated"]

MOST_CHARACTERS: Final = 40_960
"""No kind of policy may be longer; their owners have smaller limits, by `size`."""
_DOCUMENTS: Final = 1024
_ACTIONS: Final = 512
"""How many documents are kept compiled, and how many actions' statements in each."""
_DEPTH: Final = 12
_NOT_JSON: Final = "This policy contains invalid Json"
"""What IAM says of trust policies; of others it says that their syntax is wrong."""
_VERSIONS: Final = ("2012-10-17", "2008-10-17")
_VENDOR: Final = re.compile(r"[A-Za-z0-9.-]+")
_ACTION: Final = re.compile(r"[A-Za-z0-9._*?-]+")
_RESOURCE: Final = re.compile(r"arn:([^:]*):([^:]*):([^:]*):([^:]*):(.+)", re.DOTALL)
_PARTITION: Final = re.compile(r"aws[a-z-]*|\*")
_ELEMENTS: Final = frozenset(
    {
        "Sid",
        "Effect",
        "Principal",
        "NotPrincipal",
        "Action",
        "NotAction",
        "Resource",
        "NotResource",
        "Condition",
    }
)


class Verdict(Enum):
    """What a policy says of a request."""

    ALLOW = "allow"
    DENY = "deny"
    NEUTRAL = "neutral"
    """Nothing: whether it may be done is for other policies to say, and without any it may not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One request as policies see it."""

    principal_arn: str
    """The principal's ARN (of a session: the session's); for services the name, such as `ssm.amazonaws.com`."""
    principal_account: str
    principal_kind: PrincipalKind
    action: str
    """`service:Name`"""
    resource: str
    """An ARN, or `*` for actions that are not about a resource."""
    context: Mapping[str, Value] = field(default_factory=dict)
    """Values of condition keys, in any case; a tuple for keys that have several values."""
    role_arn: str = ""
    """Of a session the ARN of its role, with its path. Without it roles are known by account and name."""
    _known: dict[str, Value] = field(default_factory=dict, init=False, repr=False, compare=False)

    def value(self, key: str) -> Value | None:
        """The value of a condition key (lower case), or None; keys that follow from the principal need not be given."""
        known = self._known
        if not known:
            known["aws:principalarn"] = self.role_arn or self.principal_arn
            known["aws:principalaccount"] = self.principal_account
            known["aws:principaltype"] = _TYPES[self.principal_kind]
            if self.principal_kind in ("service", "anonymous"):
                del known["aws:principalarn"], known["aws:principalaccount"]
            for name, value in self.context.items():
                known[name.lower()] = value
        return known.get(key)


REACHES: Final[tuple[Reach, ...]] = ("account", "several", "itself")
"""The closest last."""
_TYPES: Final[Mapping[str, str]] = {
    "root": "Account",
    "user": "User",
    "session": "AssumedRole",
    "node": "AssumedRole",
    "federated": "FederatedUser",
    "service": "Service",
    "anonymous": "Anonymous",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One compiled statement."""

    sid: str
    number: int
    """Its place in the document, from 1."""
    allows: bool
    actions: tuple[Match, ...]
    not_actions: bool
    resources: tuple[Pattern, ...] | None
    """None: every resource (policies that a role has about itself)."""
    not_resources: bool
    principals: Principals | None
    """None: whoever the policy hangs on."""
    not_principals: bool
    conditions: tuple[Condition, ...]

    def speaks_of(self, action: str) -> bool:
        """Whether it is about an action (lower case)."""
        return any(fits(action) for fits in self.actions) is not self.not_actions

    def applies(self, ask: Ask) -> bool:
        """Whether it is about the request, of whose action it speaks."""
        if self.principals is not None:
            included = self.principals.includes(
                ask.principal_kind, ask.principal_arn, ask.principal_account, ask.role_arn
            )
            if included is self.not_principals:
                return False
        lookup = ask.value
        if self.resources is not None:
            resource = ask.resource
            for pattern in self.resources:
                if pattern.fits(resource, lookup):
                    if self.not_resources:
                        return False
                    break
            else:
                if not self.not_resources:
                    return False
        for holds in self.conditions:  # noqa: SIM110 - a generator would cost more than most conditions
            if not holds(lookup):
                return False
        return True

    def reach(self, ask: Ask) -> Reach:
        """How its principal means who asks, whom it applies to."""
        if self.principals is None or self.not_principals:
            return "account"
        found = self.principals.reach(ask.principal_kind, ask.principal_arn, ask.principal_account, ask.role_arn)
        return found or "account"


@dataclass(frozen=True, slots=True)
class Decision:
    """A verdict with its ground."""

    verdict: Verdict
    statement: Statement | None = None
    """The statement that denies, or one that allows."""
    reach: Reach = "account"
    """How the statement that allows means the principal, of several the closest. By way of the account it leaves it to
    that, whose own policies must allow it as well."""


class Policy:
    """A compiled document."""

    __slots__ = ("_by_action", "id", "statements", "version")

    def __init__(self, *, version: str, identifier: str, statements: Sequence[Statement]) -> None:
        self.version = version
        self.id = identifier
        self.statements = tuple(statements)
        self._by_action: dict[str, tuple[tuple[Statement, ...], tuple[Statement, ...]]] = {}

    def verdict(self, ask: Ask) -> Verdict:
        """What the policy says; an explicit deny wins."""
        found = self._by_action.get(ask.action)
        denying, allowing = self._speaking_of(ask.action) if found is None else found
        for statement in denying:
            if statement.applies(ask):
                return Verdict.DENY
        for statement in allowing:
            if statement.applies(ask):
                return Verdict.ALLOW
        return Verdict.NEUTRAL

    def decide(self, ask: Ask) -> Decision:
        """The verdict, by which statement, and how the principal is meant."""
        denying, allowing = self._speaking_of(ask.action)
        for statement in denying:
            if statement.applies(ask):
                return Decision(Verdict.DENY, statement)
        found = Decision(Verdict.NEUTRAL)
        for statement in allowing:
            if statement.applies(ask):
                reach = statement.reach(ask)
                if found.statement is None or REACHES.index(reach) > REACHES.index(found.reach):
                    found = Decision(Verdict.ALLOW, statement, reach)
        return found

    def _speaking_of(self, action: str) -> tuple[tuple[Statement, ...], tuple[Statement, ...]]:
        """The statements that deny and allow the action, under its spelling in the request."""
        found = self._by_action.get(action)
        if found is None:
            lower = action.lower()
            speaking = [statement for statement in self.statements if statement.speaks_of(lower)]
            found = (
                tuple(statement for statement in speaking if not statement.allows),
                tuple(statement for statement in speaking if statement.allows),
            )
            if len(self._by_action) >= _ACTIONS:
                self._by_action.clear()
            self._by_action[action] = found
        return found

    def accounts(self) -> frozenset[str]:
        """The accounts that an allowing statement names, by themselves or in the ARN of somebody in them."""
        found: set[str] = set()
        for statement in self.statements:
            if statement.allows and statement.principals is not None and not statement.not_principals:
                found |= statement.principals.accounts
                found |= {arn.split(":")[4] for arn in statement.principals.arns if arn.startswith("arn:")}
        return frozenset(found)

    def is_public(self) -> bool:
        """Whether an allowing statement without conditions is about everybody, or everybody but some."""
        return any(
            statement.allows
            and not statement.conditions
            and statement.principals is not None
            and (statement.principals.everybody or statement.not_principals)
            for statement in self.statements
        )


def size(text: str) -> int:
    """How long a document is as IAM counts: without white space."""
    return len(re.sub(r"\s", "", text))


@lru_cache(maxsize=_DOCUMENTS)
def parse(text: str, *, kind: PolicyKind) -> Policy:
    """Compile a document. Raises MalformedPolicy."""
    if len(text) > MOST_CHARACTERS:
        raise MalformedPolicy(SYNTAX, f"a policy has at most {MOST_CHARACTERS} characters")
    document = _read(text, kind)
    for element in document:
        if element not in ("Version", "Id", "Statement"):
            raise MalformedPolicy(SYNTAX, f"unknown element {element}")
    version = document.get("Version", "2008-10-17")
    if type(version) is not str or version not in _VERSIONS:
        raise MalformedPolicy(SYNTAX, f"Version must be one of {', '.join(_VERSIONS)}")
    identifier = document.get("Id", "")
    if type(identifier) is not str:
        raise MalformedPolicy(SYNTAX, "Id must be a text")
    listed = document.get("Statement")
    if isinstance(listed, dict):
        listed = [listed]
    if not isinstance(listed, list) or not listed:
        raise MalformedPolicy(SYNTAX, "a policy needs a Statement")
    statements = [_statement(each, at, kind, version) for at, each in enumerate(listed, 1)]
    _check_sids(statements)
    return Policy(version=version, identifier=identifier, statements=statements)


class _Number(str):
    """A number as it stands in a document."""

    __slots__ = ()


def _read(text: str, kind: PolicyKind) -> dict[str, Any]:
    try:
        document = json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=_Number,
            parse_float=_Number,
            parse_constant=_no_constant,
        )
        text.encode()
        json.dumps(document, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}: {error.msg}"
        if kind == "trust":
            raise MalformedPolicy(_NOT_JSON, f"({where})") from error
        raise MalformedPolicy(SYNTAX, f"The document is not JSON, {where}") from error
    except (ValueError, RecursionError) as error:
        raise MalformedPolicy(SYNTAX, "The document is not JSON") from error
    if not isinstance(document, dict):
        raise MalformedPolicy(SYNTAX, "a policy is a JSON object")
    _check_depth(document)
    return document


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise MalformedPolicy(SYNTAX, "a key stands twice in one object")
    return made


def _no_constant(name: str) -> None:
    raise ValueError(name)


def _check_depth(document: object) -> None:
    level: list[Any] = [document]
    for _ in range(_DEPTH):
        level = [
            inner
            for each in level
            if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
        if not level:
            return
    raise MalformedPolicy(SYNTAX, "the document is nested too deeply")


def _check_sids(statements: Sequence[Statement]) -> None:
    sids = [statement.sid for statement in statements if statement.sid]
    if len(set(sids)) != len(sids):
        twice = next(sid for sid in sids if sids.count(sid) > 1)
        raise MalformedPolicy("Statement IDs (SID) in a single policy must be unique.", f"Sid: {twice}")


def _statement(document: object, number: int, kind: PolicyKind, version: str) -> Statement:
    try:
        return _compiled(document, number, kind, variables=version == _VERSIONS[0])
    except MalformedPolicy as error:
        where = f"(statement {number})" if not error.reason.endswith((".", "*")) else f"Statement {number}"
        raise MalformedPolicy(error.reason, f"{where}: {error.detail}".removesuffix(": ")) from error


def _compiled(document: object, number: int, kind: PolicyKind, *, variables: bool) -> Statement:
    if not isinstance(document, dict):
        raise MalformedPolicy(SYNTAX, "a statement is an object")
    for element in document:
        if element not in _ELEMENTS:
            raise MalformedPolicy(SYNTAX, f"unknown element {element}")
    effect = document.get("Effect")
    if effect not in ("Allow", "Deny"):
        raise MalformedPolicy(SYNTAX, "Effect must be Allow or Deny")
    actions, not_actions = _either(document, "Action", "Policy statement must contain actions.")
    if actions is None:
        raise MalformedPolicy("Policy statement must contain actions.")
    for action in actions:
        _check_action(action)
    principals, not_principals = _principals(document, kind)
    resources, not_resources = _either(document, "Resource", "Policy statement must contain resources.")
    if kind == "trust" and resources is not None:
        raise MalformedPolicy("Has prohibited field Resource")
    if kind != "trust" and resources is None:
        raise MalformedPolicy("Policy statement must contain resources.")
    return Statement(
        sid=_sid(document, kind),
        number=number,
        allows=effect == "Allow",
        actions=tuple(matcher(wildcards(action.lower())) for action in actions),
        not_actions=not_actions,
        resources=None if resources is None else _resources(resources, variables=variables),
        not_resources=not_resources,
        principals=principals,
        not_principals=not_principals,
        conditions=tuple(compile_conditions(document.get("Condition", {}), variables=variables)),
    )


def _check_action(action: str) -> None:
    if action in ("*", "*:*"):
        return
    vendor, _, name = action.partition(":")
    if ":" in name:
        raise MalformedPolicy("Actions/Condition can contain only one colon.", f"Action: {action}")
    if not vendor or not _ACTION.fullmatch(name):
        raise MalformedPolicy(
            "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.", f"Action: {action}"
        )
    if not _VENDOR.fullmatch(vendor):
        raise MalformedPolicy(f"Vendor {vendor} is not valid", f"Action: {action}")


def _either(document: dict[str, Any], element: str, missing: str) -> tuple[list[str] | None, bool]:
    """The texts of an element or of its Not form, and which it was."""
    negated = f"Not{element}"
    if element in document and negated in document:
        raise MalformedPolicy(SYNTAX, f"{element} and {negated} cannot stand together")
    name = negated if negated in document else element
    if name not in document:
        return None, False
    values = document[name]
    listed = values if isinstance(values, list) else [values]
    if not listed:
        raise MalformedPolicy(missing)
    if not all(type(value) is str for value in listed):
        raise MalformedPolicy(SYNTAX, f"{name} must be a text or a list of texts")
    return listed, name == negated


def _sid(document: dict[str, Any], kind: PolicyKind) -> str:
    sid = document.get("Sid", "")
    if type(sid) is not str:
        raise MalformedPolicy(SYNTAX, "Sid must be a text")
    if kind == "identity" and not re.fullmatch(r"[0-9A-Za-z]*", sid):
        raise MalformedPolicy(
            "Statement IDs (SID) must be alpha-numeric. Check that your input satisfies the regular expression "
            "[0-9A-Za-z]*",
            f"Sid: {sid}",
        )
    return sid


def _principals(document: dict[str, Any], kind: PolicyKind) -> tuple[Principals | None, bool]:
    given = [name for name in ("Principal", "NotPrincipal") if name in document]
    if kind == "identity":
        if given:
            raise MalformedPolicy("Policy document should not specify a principal.")
        return None, False
    if len(given) != 1:
        if not given:
            raise MalformedPolicy("Missing required field Principal")
        raise MalformedPolicy(SYNTAX, "Principal and NotPrincipal cannot stand together")
    return compile_principals(document[given[0]]), given[0] == "NotPrincipal"


def _resources(texts: Sequence[str], *, variables: bool) -> tuple[Pattern, ...]:
    for text in texts:
        if text == "*":
            continue
        found = _RESOURCE.fullmatch(text)
        if found is None:
            raise MalformedPolicy(f'Resource {text} must be in ARN format or "*".')
        if not _PARTITION.fullmatch(found[1]):
            raise MalformedPolicy(f'Partition "{found[1]}" is not valid for resource "{text}".')
        if not found[2] or "*" in found[2] or "?" in found[2]:
            raise MalformedPolicy("Resource vendor must be fully qualified and cannot contain regexes.", text)
    return tuple(Pattern(text, variables=variables, kind="arn") for text in texts)
