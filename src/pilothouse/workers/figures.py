"""The figures of several processes as those of one server, so that a scrape is true whichever process answers it.

Our own are added up; so are those of workers that have ended, as far as somebody has asked for them, for a counter that
went down would look like a restart. What the system says of each process stands beside it with the worker's number.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec
from prometheus_client import REGISTRY, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

_OURS: Final = "pilothouse_"
_LASTING: Final = ("counter", "histogram")
_BIRTH: Final = "_created"
"""Ends the name of the sample that says since when a counter counts: the earliest holds."""

Labels = tuple[tuple[str, str], ...]


class _Family(msgspec.Struct, array_like=True):
    name: str
    help: str
    kind: str
    samples: list[tuple[str, dict[str, str], float]]


def figures(source: Any = REGISTRY) -> bytes:
    """Those of this process."""
    return msgspec.json.encode([_family(each) for each in source.collect()])


def _family(metric: Metric) -> _Family:
    samples = [(each.name, each.labels, each.value) for each in metric.samples]
    return _Family(metric.name, metric.documentation, metric.type, samples)


class Figures:
    """What is known of all workers."""

    def __init__(self) -> None:
        self._of: dict[int, list[_Family]] = {}
        self._former: list[_Family] = []

    def put(self, worker: int, text: bytes) -> None:
        """What a worker says of itself now. Raises msgspec.MsgspecError."""
        self._of[worker] = msgspec.json.decode(text, type=list[_Family])

    def ended(self, worker: int) -> None:
        """The worker is gone; what it has counted stays."""
        for family in self._of.pop(worker, ()):
            if family.name.startswith(_OURS) and family.kind in _LASTING:
                self._former.append(family)
        self._former = list(_added(self._former))

    def text(self, *more: Metric) -> bytes:
        """All of it in Prometheus' text form; `more` are figures of the supervisor's own."""
        ours, theirs = list(self._former), []
        for worker, families in sorted(self._of.items()):
            for family in families:
                if family.name.startswith(_OURS):
                    ours.append(family)
                else:
                    which = {"worker": str(worker)}
                    samples = [(name, labels | which, value) for name, labels, value in family.samples]
                    theirs.append(_Family(family.name, family.help, family.kind, samples))
        made = [_metric(each) for each in _added(ours + theirs)]
        return generate_latest(_Given([*made, *more]))


def _added(families: Iterable[_Family]) -> Iterable[_Family]:
    """One family of each name; samples of the same name and labels as one."""
    found: dict[str, tuple[_Family, dict[tuple[str, Labels], float]]] = {}
    for family in families:
        _, sums = found.setdefault(family.name, (family, {}))
        for name, labels, value in family.samples:
            key = name, tuple(labels.items())
            if key not in sums:
                sums[key] = value
            else:
                sums[key] = min(sums[key], value) if name.endswith(_BIRTH) else sums[key] + value
    for family, sums in found.values():
        samples = [(name, dict(labels), value) for (name, labels), value in sums.items()]
        yield _Family(family.name, family.help, family.kind, samples)


def _metric(family: _Family) -> Metric:
    made = Metric(family.name, family.help, family.kind)
    for name, labels, value in family.samples:
        made.add_sample(name, labels, value)
    return made


class _Given(Collector):
    """Stands where the library wants a registry."""

    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def gauge(name: str, text: str, value: float, labels: Mapping[str, str] | None = None) -> Metric:
    """A figure of the moment."""
    made = Metric(name, text, "gauge")
    made.add_sample(name, dict(labels or {}), value)
    return made


def counter(name: str, text: str, value: float) -> Metric:
    """A figure that only grows."""
    made = Metric(name, text, "counter")
    made.add_sample(f"{name}_total", {}, value)
    return made
