"""`aws:pause`: go on when somebody sends the signal Resume."""

from pilothouse.capabilities.automation.actions.interface import Action, Done, Outcome, Step, Values, WaitFor

DAYS = 24 * 3600


class Pause(Action):
    """Waits for people."""

    name = "aws:pause"
    timeout_seconds = 7 * DAYS
    mutating = False

    async def begin(self, step: Step) -> Outcome:
        return WaitFor(for_people=True)

    async def resume(self, step: Step, state: Values) -> Outcome:
        return Done() if state.get("resumed") else WaitFor(state=state, for_people=True)
