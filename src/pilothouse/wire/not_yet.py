"""Operations of the public models that this version does not answer yet. The set only shrinks; a test holds it true."""

from collections.abc import Iterable

from pilothouse.wire.models import PUBLIC, service_model

Name = tuple[str, str]
"""(service, operation)."""


def published() -> set[Name]:
    """Every operation of the public models."""
    names: set[Name] = set()
    for service in PUBLIC:
        names.update((service, name) for name in service_model(service).public)
    return names


def missing(operations: Iterable[Name]) -> set[Name]:
    """The published operations that are not among the given ones."""
    return published() - set(operations)
