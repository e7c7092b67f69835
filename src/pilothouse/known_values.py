"""Secret values as those ask for them who must recognise them, so that they are shown to nobody.

Who keeps such values hears the event `values.wanted`, and gives those that the names mean, in the clear. What was given
before under the same id is not given again.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Final

EVENT: Final = "values.wanted"
SECRETS: Final = "/aws/reference/secretsmanager/"
"""How a name begins that means a secret, as for Parameter Store; any other means a parameter."""
BELOW: Final = "/*"
"""How a name ends that means everything below it."""
MOST: Final = 1000
"""Of one name."""


@dataclass(slots=True, kw_only=True)
class Wanted:
    """What is asked for in one account and region, and what was found."""

    account_id: str
    region: str
    names: Sequence[str]
    known: Collection[str] = field(repr=False)
    """Ids of what need not be given again."""
    there: set[str] = field(default_factory=set, repr=False)
    """Ids of all that there is."""
    given: dict[str, Sequence[bytes]] = field(default_factory=dict, repr=False)
    """By id the values that were not known."""
    unreadable: dict[str, str] = field(default_factory=dict, repr=False)
    """By id why a value could not be read."""

    @property
    def of_secrets(self) -> list[str]:
        """Names of secrets; those that end with `BELOW` mean all below."""
        return [name.removeprefix(SECRETS) for name in self.names if name.startswith(SECRETS)]

    @property
    def of_parameters(self) -> list[str]:
        """Names of parameters; those that end with `BELOW` mean all below."""
        return [name for name in self.names if not name.startswith(SECRETS)]

    def lacks(self, value_id: str) -> bool:
        """Whether what is there under this id must be given; `give` or `cannot` follows then."""
        self.there.add(value_id)
        return value_id not in self.known and value_id not in self.given

    def give(self, value_id: str, values: Sequence[bytes]) -> None:
        """The values, of which there is one or several from before."""
        self.given[value_id] = values

    def cannot(self, value_id: str, why: str) -> None:
        """It cannot be read; `why` holds no value."""
        self.unreadable[value_id] = why
