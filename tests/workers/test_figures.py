"""Figures of several workers as those of one server."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.parser import text_string_to_metric_families

from pilothouse.workers.figures import Figures, counter, figures, gauge


class Process:
    """What one worker counts."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.calls = Counter("pilothouse_calls", "Calls.", ["service"], registry=self.registry)
        self.open = Gauge("pilothouse_connections", "Open.", registry=self.registry)
        self.times = Histogram("pilothouse_seconds", "Times.", buckets=(1, 2), registry=self.registry)
        self.memory = Gauge("process_resident_memory_bytes", "Memory.", registry=self.registry)

    def say(self) -> bytes:
        return figures(self.registry)


def scraped(text: bytes) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def of(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset(labels.items())


def test_ours_are_added_up_and_what_the_system_says_stands_by_worker() -> None:
    one, two, all_ = Process(), Process(), Figures()
    one.calls.labels("ssm").inc(3)
    two.calls.labels("ssm").inc(4)
    two.calls.labels("kms").inc()
    one.open.set(5)
    two.open.set(7)
    for each in (one, two):
        each.times.observe(1.5)
    one.memory.set(100)
    two.memory.set(200)
    all_.put(1, one.say())
    all_.put(2, two.say())
    found = scraped(all_.text(gauge("pilothouse_workers", "Workers.", 2), counter("pilothouse_ends", "Ends.", 1)))
    assert found[of("pilothouse_calls_total", service="ssm")] == 7
    assert found[of("pilothouse_calls_total", service="kms")] == 1
    assert found[of("pilothouse_connections")] == 12
    assert found[of("pilothouse_seconds_bucket", le="2.0")] == 2
    assert found[of("pilothouse_seconds_bucket", le="1.0")] == 0
    assert found[of("pilothouse_seconds_sum")] == 3
    assert found[of("process_resident_memory_bytes", worker="1")] == 100
    assert found[of("process_resident_memory_bytes", worker="2")] == 200
    assert found[of("pilothouse_workers")] == 2
    assert found[of("pilothouse_ends_total")] == 1


def test_what_a_dead_worker_counted_stays_and_what_it_held_goes() -> None:
    all_, sums = Figures(), []
    for number, calls in ((1, 3), (2, 4), (2, 10), (2, 1)):
        process = Process()
        process.calls.labels("ssm").inc(calls)
        process.open.set(1)
        if number == 2 and len(sums) > 1:
            all_.ended(2)
        all_.put(number, process.say())
        found = scraped(all_.text())
        sums.append(found[of("pilothouse_calls_total", service="ssm")])
        assert found[of("pilothouse_connections")] == min(len(sums), 2)
    assert sums == [3, 7, 17, 18]


def test_the_same_twice_counts_once() -> None:
    process, all_ = Process(), Figures()
    process.calls.labels("ssm").inc(3)
    for _ in range(3):
        all_.put(1, process.say())
    assert scraped(all_.text())[of("pilothouse_calls_total", service="ssm")] == 3
