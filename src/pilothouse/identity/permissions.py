"""What the policies of a principal, and those of a resource, let it do; `decide` is the one place that joins them.

An explicit deny in any of them wins, and without an allow nothing is.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from pilothouse.identity.policy import REACHES, Ask, Decision, Policy, Verdict, parse

Layer = Literal["identity-based policy", "permissions boundary", "session policy", "resource-based policy"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A policy of a principal or of a resource, and where it comes from."""

    kind: Literal["inline", "managed", "boundary", "session", "resource"]
    """`boundary` and `session` give nothing, they narrow what the others give."""
    name: str
    document: str
    arn: str = ""
    """Of a managed policy; empty for one that stands in its owner."""
    owner: str = ""
    """The ARN of the user, group, role or resource that it stands in or is attached to."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Whether a request may be, and if not, at which kind of policy it fails: a deny of any before a missing allow."""

    verdict: Verdict
    """NEUTRAL: nothing allows it."""
    layer: Layer = "identity-based policy"


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
        tagged = any(speaks_of_tags(each.document) for each in given)

        def those(*kinds: str) -> list[Policy]:
            return [parse(each.document, kind="identity") for each in given if each.kind in kinds]

        return cls(those("inline", "managed"), those("session") or None, those("boundary") or None, given, tagged)

    def layers(self, ask: Ask) -> "list[tuple[Layer, Verdict]]":
        """What each kind of policies says."""
        found: list[tuple[Layer, Verdict]] = [("identity-based policy", _of(self.policies, ask))]
        if self.boundary is not None:
            found.append(("permissions boundary", _of(self.boundary, ask)))
        if self.within is not None:
            found.append(("session policy", _of(self.within, ask)))
        return found

    def refused_by(self, ask: Ask) -> Layer:
        """Which kind of policy a request fails at that is not allowed."""
        return decide(self, ask).layer

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


def speaks_of_tags(document: str) -> bool:
    """Whether a policy may have a condition on the tags of resources."""
    return "resourcetag/" in document.lower()


def decide(
    permissions: Permissions,
    ask: Ask,
    on_resource: Decision | None = None,
    *,
    needed: bool = False,
    elsewhere: bool = False,
) -> Outcome:
    """The policies of a principal together with what those of the resource say.

    A resource's policy is enough where it means the principal otherwise than by way of the account. One that names the
    user or the session itself is not narrowed by a boundary or a session policy that just does not allow; one that
    names the role, or everybody, is. `needed`: nothing may be that the resource's policy does not allow, if only by
    way of the account. `elsewhere`: the resource is another account's, and both sides must allow.
    Source: "Policy evaluation logic" of the IAM user guide, with what it says of boundaries and session policies.
    """
    layers = permissions.layers(ask)
    if on_resource is not None:
        layers.append(("resource-based policy", on_resource.verdict))
    for layer, verdict in layers:
        if verdict is Verdict.DENY:
            return Outcome(verdict, layer)
    if on_resource is not None and not (needed or elsewhere):
        layers.pop()
    if on_resource is not None and on_resource.verdict is Verdict.ALLOW and not elsewhere:
        if on_resource.reach == "itself":
            return Outcome(Verdict.ALLOW)
        if on_resource.reach == "several":
            layers = layers[1:]
    for layer, verdict in layers:
        if verdict is Verdict.NEUTRAL:
            return Outcome(verdict, layer)
    return Outcome(Verdict.ALLOW)


def said(policies: Iterable[Policy], ask: Ask) -> Decision:
    """What several policies on one resource say together."""
    found = Decision(Verdict.NEUTRAL)
    for policy in policies:
        decision = policy.decide(ask)
        if decision.verdict is Verdict.DENY:
            return decision
        if decision.verdict is Verdict.ALLOW and (
            found.verdict is Verdict.NEUTRAL or REACHES.index(decision.reach) > REACHES.index(found.reach)
        ):
            found = decision
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
