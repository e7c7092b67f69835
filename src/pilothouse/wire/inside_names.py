"""Names of operations as others may write them who ask from inside: `get_parameter` for GetParameter."""

from collections.abc import Mapping

from pilothouse.call import Caller, Operation
from pilothouse.wire.models import service_model


class InsideNames:
    """Finds them in the operation table."""

    def __init__(self, operations: Mapping[tuple[str, str], Operation]) -> None:
        self._names = {
            (service, name.lower()): name
            for (service, name), operation in operations.items()
            if Caller.ACCOUNT in operation.callers and not operation.appends
        }

    def find(self, service: str, name: str) -> str | None:
        """The operation's own name; None if there is none that can be asked within a transaction."""
        found = self._names.get((service, name.replace("_", "").lower()))
        model = None if found is None else service_model(service).operations.get(found)
        if model is None or model.streamed_in or model.streamed_out or model.event_stream:
            return None
        return found
