"""Counting of calls, as a scraper sees it."""

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from pilothouse.runtime.metrics import Calls


def _scraped(calls: Calls) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    registry = CollectorRegistry()
    registry.register(calls)
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {
        (each.name, tuple(sorted(each.labels.items()))): each.value for family in families for each in family.samples
    }


def test_calls_are_counted_by_outcome_and_timed_by_service() -> None:
    calls = Calls()
    for seconds in (0.0005, 0.001, 0.3, 60.0):
        calls.add("ssm", "GetParameter", "OK", seconds)
    calls.add("ssm", "GetParameter", "ParameterNotFound", 0.002)
    found = _scraped(calls)

    def bucket(bound: str) -> float:
        return found["pilothouse_call_seconds_bucket", (("le", bound), ("service", "ssm"))]

    outcome = (("operation", "GetParameter"), ("service", "ssm"))
    assert found["pilothouse_calls_total", (("code", "OK"), *outcome)] == 4
    assert found["pilothouse_calls_total", (("code", "ParameterNotFound"), *outcome)] == 1
    assert [bucket(bound) for bound in ("0.001", "0.0025", "0.25", "0.5", "10.0", "+Inf")] == [2, 3, 3, 4, 4, 5]
    assert found["pilothouse_call_seconds_count", (("service", "ssm"),)] == 5
    assert abs(found["pilothouse_call_seconds_sum", (("service", "ssm"),)] - 60.3035) < 1e-9
