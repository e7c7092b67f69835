"""ARNs taken apart, as far as tables of the capabilities are asked about them."""

from dataclasses import dataclass

_COLONS = frozenset({"logs", "secretsmanager"})
"""Services whose ARNs have a colon behind the kind of the resource."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Whose a resource is, and what."""

    service: str
    region: str
    account_id: str
    kind: str
    """As the tables have it: `parameter`, of other services than ssm `secretsmanager:secret`."""
    tail: str
    """The text after the kind."""


def place_of(arn: str) -> Place | None:
    """Of an ARN; None for what is none, and for patterns of several resources."""
    parts = arn.split(":", 5)
    if len(parts) < 6 or "*" in parts[5]:
        return None
    service = parts[2]
    rest = parts[5].replace(":", "/", 1) if service in _COLONS else parts[5]
    if service == "sns":  # its ARNs end with a topic's name, or that and a subscription's id
        rest = f"topic/{rest}"
    kind, _, tail = rest.partition("/")
    return Place(
        service=service,
        region=parts[3],
        account_id=parts[4],
        kind=kind if service == "ssm" else f"{service}:{kind}",
        tail=tail,
    )
