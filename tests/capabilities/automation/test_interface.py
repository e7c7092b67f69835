"""What holds of every action, whoever wrote it."""

import pytest

from pilothouse.capabilities.automation.actions import ACTIONS
from pilothouse.capabilities.automation.actions.interface import Action, Input
from pilothouse.capabilities.automation.actions.sleep import seconds_of

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.mark.parametrize("action", ACTIONS.values(), ids=list(ACTIONS))
def test_an_action_says_what_it_is(action: Action) -> None:
    assert action.name.startswith("aws:")
    assert all(isinstance(each, Input) for each in action.inputs.values())
    assert action.timeout_seconds is None or action.timeout_seconds > 0
    list(action.check(dict.fromkeys(action.inputs, "{{ later }}")))  # what is to be filled is no reason to fail


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("PT10M", 600), ("P1DT2H", 93_600), ("PT1.5S", 1), ("PT0S", 0), ("P", None), ("PT", None), ("10M", None)],
)
def test_durations(text: str, seconds: int | None) -> None:
    assert seconds_of(text) == seconds
