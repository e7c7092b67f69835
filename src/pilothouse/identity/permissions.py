"""What the policies of a principal let it do: an explicit deny in any of them wins, and without an allow nothing is."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from pilothouse.identity.policy import Ask, Policy, Verdict, parse

Layer = Literal["identity-based policy", "permissions boundary", "session policy"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A policy of a principal, and where it comes from."""

    kind: Literal["inline", "managed", "boundary", "session"]
    """`boundary` and `session` give nothing, they narrow what the others give."""
    name: str
    document: str
    arn: str = ""
    """Of a managed policy; empty for one that stands in its owner."""
    owner: str = ""
    """The ARN of the user, group or role that it stands in or is attached to."""


@dataclass(frozen=True, slots=True)
class Permissions:
    """The policies of one principal together."""

    policies: Sequence[Policy] = ()
    within: Sequence[Policy] | None = None
    """The policies that a session was narrowed to; what none of these allows is not allowed."""
    boundary: Sequence[Policy] | None = None
    """The permission boundary; what it does not allow is not allowed."""
    sources: Sequence[Source] = ()
    """All of them with their origin, for those who ask why."""
    speak_of_tags: bool = False
    """Whether any of them has a condition on the tags of resources; else nobody looks for these."""

    @classmethod
    def of(cls, sources: Iterable[Source]) -> "Permissions":
        """Compile the policies (each text once)."""
        given = tuple(sources)
        tagged = any("resourcetag/" in each.document.lower() for each in given)

        def those(*kinds: str) -> list[Policy]:
            return [parse(each.document, kind="identity") for each in given if each.kind in kinds]

        return cls(those("inline", "managed"), those("session") or None, those("boundary") or None, given, tagged)

    def refused_by(self, ask: Ask) -> Layer:
        """Which kind of policy a request fails at that is not allowed: a deny of any kind before a missing allow."""
        layers: list[tuple[Layer, Sequence[Policy]]] = [("identity-based policy", self.policies)]
        if self.boundary is not None:
            layers.append(("permissions boundary", self.boundary))
        if self.within is not None:
            layers.append(("session policy", self.within))
        found = [(name, _of(policies, ask)) for name, policies in layers]
        for wanted in (Verdict.DENY, Verdict.NEUTRAL):
            for name, verdict in found:
                if verdict is wanted:
                    return name
        return "identity-based policy"

    def verdict(self, ask: Ask) -> Verdict:
        """DENY, ALLOW, or NEUTRAL where they do not allow the request."""
        found = _of(self.policies, ask)
        if found is Verdict.DENY:
            return found
        for narrowing in (self.boundary, self.within):
            if narrowing is None:
                continue
            narrow = _of(narrowing, ask)
            if narrow is Verdict.DENY:
                return narrow
            if narrow is Verdict.NEUTRAL:
                found = narrow
        return found


def _of(policies: Sequence[Policy], ask: Ask) -> Verdict:
    found = Verdict.NEUTRAL
    for policy in policies:
        verdict = policy.verdict(ask)
        if verdict is Verdict.DENY:
            return verdict
        if verdict is Verdict.ALLOW:
            found = verdict
    return found
