"""Scripts that runbooks bring along as attachments of their document."""

from pilothouse.call import House
from pilothouse.capabilities import documents
from pilothouse.capabilities.automation.actions.interface import StepFailed
from pilothouse.capabilities.automation.store import AutomationStore
from pilothouse.storage import Transaction


async def content_of(house: House, tx: Transaction, execution_id: str, file: str) -> bytes:
    """The attachment of the version of the document that the execution runs. Raises StepFailed."""
    store = AutomationStore(tx, house.vault)
    execution = await store.execution(execution_id)
    while execution is not None and execution.cross_account and execution.parent_id:  # the runbook is where it began
        execution = await store.execution(execution.parent_id)
    content = None
    if execution is not None:
        content = await documents.attached(
            house, tx, execution.account_id, execution.region, execution.document_name, execution.document_version, file
        )  # fmt: skip
    if content is None:
        raise StepFailed(
            f"The document has no attachment named {file[:128]}: name it in Attachments when the version is made.",
            stage="InputValidation",
        )
    return content
