"""The documents that come with the installation: a file each, named after the document, in JSON.

`PROVIDED` are their names. The texts are our own; names and parameters are those that clients know.
"""

from importlib import resources
from typing import Final

PROVIDED: Final = frozenset(
    entry.name.removesuffix(".json") for entry in resources.files(__name__).iterdir() if entry.name.endswith(".json")
)


def text_of(name: str) -> str:
    """The text of one of them."""
    return (resources.files(__name__) / f"{name}.json").read_text("utf-8")
