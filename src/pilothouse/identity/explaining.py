"""Why a request is allowed or not: every statement of every policy, with what of it fits and what does not.

Slower than a verdict, and from the documents themselves; that both say the same is held by tests.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pilothouse.identity.permissions import Layer, Permissions, Source, decide, said
from pilothouse.identity.policy import Ask, PolicyKind, Statement, Verdict, parse
from pilothouse.identity.policy_conditions import compile_conditions
from pilothouse.identity.policy_patterns import Value

Position = tuple[int, int]
"""Line and column, from 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConditionFinding:
    """One condition key under one operator."""

    operator: str
    key: str
    wanted: Sequence[str]
    value: Value | None
    """What the request has; None: it does not have the key."""
    holds: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementFinding:
    """What one statement says of the request."""

    source: Source
    sid: str
    number: int
    """Its place in the document, from 1."""
    allows: bool
    action: bool
    resource: bool
    """Whether it speaks of the action, of the resource. A statement without resources speaks of every one."""
    principal: bool
    conditions: Sequence[ConditionFinding]
    start: Position
    end: Position

    @property
    def applies(self) -> bool:
        """Whether all of it fits."""
        return self.action and self.resource and self.principal and all(each.holds for each in self.conditions)


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """A verdict, and every statement."""

    verdict: Verdict
    layer: Layer
    """At which kind of policy it was refused, where it was."""
    statements: Sequence[StatementFinding]

    def deciding(self) -> list[StatementFinding]:
        """Those that brought the verdict about, what gives before what narrows; none where nothing allows."""
        if self.verdict is Verdict.NEUTRAL:
            return []
        deciding = [each for each in self.statements if each.applies and each.allows is (self.verdict is Verdict.ALLOW)]
        return sorted(deciding, key=lambda each: each.source.kind in ("boundary", "session"))


def explain(
    sources: Sequence[Source],
    ask: Ask,
    on_resource: Sequence[Source] = (),
    *,
    needed: bool = False,
    elsewhere: bool = False,
) -> Explanation:
    """Of the policies of one principal together with those of the resource; see `decide`. Raises MalformedPolicy."""
    given = said((parse(each.document, kind="resource") for each in on_resource), ask) if on_resource else None
    found = decide(Permissions.of(sources), ask, given, needed=needed, elsewhere=elsewhere)
    statements = [each for source in sources for each in statements_of(source, ask)]
    statements += [each for source in on_resource for each in statements_of(source, ask, "resource")]
    return Explanation(verdict=found.verdict, layer=found.layer, statements=statements)


def statements_of(source: Source, ask: Ask, kind: PolicyKind = "identity") -> list[StatementFinding]:
    """Each statement of one document. Raises MalformedPolicy."""
    compiled = parse(source.document, kind=kind).statements
    raw = json.loads(source.document)["Statement"]
    documents = [raw] if isinstance(raw, dict) else raw
    places = _places(source.document)
    variables = json.loads(source.document).get("Version") == "2012-10-17"
    return [
        StatementFinding(
            source=source,
            sid=statement.sid,
            number=statement.number,
            allows=statement.allows,
            action=statement.speaks_of(ask.action.lower()),
            resource=_fits(statement, ask, "resource"),
            principal=_fits(statement, ask, "principal"),
            conditions=[*_conditions(document.get("Condition", {}), ask, variables)],
            start=place[0],
            end=place[1],
        )
        for statement, document, place in zip(compiled, documents, places, strict=True)
    ]


def context_keys(document: str, kind: PolicyKind = "identity") -> set[str]:
    """The condition keys that a policy speaks of, in conditions and in variables. Raises MalformedPolicy."""
    parse(document, kind=kind)
    return set(_keys(json.loads(document)["Statement"]))


def _fits(statement: Statement, ask: Ask, part: str) -> bool:
    """Whether a statement with this part alone would apply."""
    alone = Statement(
        sid="",
        number=0,
        allows=True,
        actions=(),
        not_actions=True,
        resources=statement.resources if part == "resource" else None,
        not_resources=statement.not_resources,
        principals=statement.principals if part == "principal" else None,
        not_principals=statement.not_principals,
        conditions=(),
    )
    return alone.applies(ask)


def _conditions(block: Mapping[str, Any], ask: Ask, variables: bool) -> Iterator[ConditionFinding]:
    for operator, keys in block.items():
        for key, values in keys.items():
            (condition,) = compile_conditions({operator: {key: values}}, variables=variables)
            yield ConditionFinding(
                operator=operator,
                key=key,
                wanted=[_text(value) for value in (values if isinstance(values, list) else [values])],
                value=ask.value(key.lower()),
                holds=condition(ask.value),
            )


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _keys(node: Any) -> Iterator[str]:
    for statement in [node] if isinstance(node, dict) else node:
        for keys in statement.get("Condition", {}).values():
            yield from keys
        for text in _texts(statement):
            start = 0
            while (start := text.find("${", start)) >= 0:
                name = text[start + 2 : text.find("}", start)].partition(",")[0].strip()
                if ":" in name:
                    yield name
                start += 2


def _texts(node: Any) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict):
        for part in node.values():
            yield from _texts(part)
    elif isinstance(node, list):
        for part in node:
            yield from _texts(part)


def _places(document: str) -> list[tuple[Position, Position]]:
    """Where each statement stands in the text. The document is known to be well formed.

    A place begins where IAM's does: behind the brace of the only statement, the bracket of the list, or the statement
    before. It ends behind the statement's brace.
    """
    decoder = json.JSONDecoder()
    at = _skip(document, document.index("{") + 1)
    while True:
        name, at = decoder.raw_decode(document, at)
        at = _skip(document, document.index(":", at) + 1)
        if name == "Statement":
            break
        _, at = decoder.raw_decode(document, at)
        at = _skip(document, _skip(document, at) + 1)
    if document[at] == "{":
        return [_place(document, at + 1, decoder.raw_decode(document, at)[1])]
    found = []
    start = at + 1
    at = _skip(document, start)
    while document[at] != "]":
        _, end = decoder.raw_decode(document, at)
        found.append(_place(document, start, end))
        start = end
        at = _skip(document, end)
        if document[at] == ",":
            at = _skip(document, at + 1)
    return found


def _skip(text: str, at: int) -> int:
    while text[at].isspace():
        at += 1
    return at


def _place(text: str, start: int, end: int) -> tuple[Position, Position]:
    return _position(text, start), _position(text, end)


def _position(text: str, at: int) -> Position:
    return text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)
