"""Documents: what nodes are told to run, by name and version.

Owns the provided documents (their content is our own) and the rules for documents and their parameters. Whoever runs a
document asks `for_run` for it, checks the values with `check_values`, and sends `to_node`'s form of them; the content
goes along as a JSON object.
"""

from pilothouse.call import Capability
from pilothouse.capabilities.documents import operations
from pilothouse.capabilities.documents.library import arn_of, for_run
from pilothouse.capabilities.documents.model import (
    Document,
    InvalidDocument,
    InvalidDocumentVersion,
    InvalidParameters,
    Step,
)
from pilothouse.capabilities.documents.values import check_values, references, to_node

CAPABILITY = Capability.of("documents", operations)

__all__ = [
    "CAPABILITY",
    "Document",
    "InvalidDocument",
    "InvalidDocumentVersion",
    "InvalidParameters",
    "Step",
    "arn_of",
    "check_values",
    "for_run",
    "references",
    "to_node",
]
