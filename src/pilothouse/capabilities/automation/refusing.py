"""What CreateDocument and UpdateDocument hear of a runbook: its first problem, with the line."""

from collections.abc import Mapping
from typing import Any

from pilothouse.call import House
from pilothouse.capabilities import documents
from pilothouse.capabilities.automation.checking import Problem, problems
from pilothouse.storage import Transaction


def said(problem: Problem, text: str) -> str:
    """The problem, with the line of its place."""
    line = documents.line_of(text, problem.place)
    return f"{problem}" if line is None else f"Line {line}, {problem}"


async def document_checking(house: House, tx: Transaction, facts: Mapping[str, Any]) -> None:
    """Raises InvalidDocumentContent for a runbook that could not be done."""
    if facts["kind"] != "Automation":
        return
    for problem in problems(facts["content"]):
        raise documents.InvalidDocumentContent(said(problem, facts["text"]))
