"""What the policies of a principal let it do: an explicit deny in any of them wins, and without an allow nothing is."""

from collections.abc import Sequence
from dataclasses import dataclass

from pilothouse.identity.policy import Ask, Policy, Verdict


@dataclass(frozen=True, slots=True)
class Permissions:
    """The identity policies of one principal together."""

    policies: Sequence[Policy] = ()
    within: Sequence[Policy] | None = None
    """The policies that a session was narrowed to; what none of these allows is not allowed."""

    def verdict(self, ask: Ask) -> Verdict:
        """DENY, ALLOW, or NEUTRAL where none of them speaks of the request."""
        found = Verdict.NEUTRAL
        for policy in self.policies:
            verdict = policy.verdict(ask)
            if verdict is Verdict.DENY:
                return verdict
            if verdict is Verdict.ALLOW:
                found = verdict
        if self.within is None:
            return found
        narrow = [policy.verdict(ask) for policy in self.within]
        if Verdict.DENY in narrow:
            return Verdict.DENY
        return found if Verdict.ALLOW in narrow else Verdict.NEUTRAL
