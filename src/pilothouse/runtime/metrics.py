"""Metrics in Prometheus' text form, served at `/metrics`. Counting of calls happens once, in `wire/dispatch`."""

from prometheus_client import REGISTRY, Counter, Gauge, Histogram, generate_latest

CALLS = Counter("pilothouse_calls_total", "API calls by outcome.", ["service", "operation", "code"])
CALL_SECONDS = Histogram("pilothouse_call_seconds", "Time from the parsed request to the answer.", ["service"])
NODE_REFUSALS = Counter("pilothouse_node_refusals_total", "Calls of nodes outside their closed list of verbs.")
CHANNELS = Gauge("pilothouse_control_channels", "Control channels of nodes that are open on this process.")
JOB_FAILURES = Counter("pilothouse_job_failures_total", "Runs of background jobs that failed.", ["job"])


def render() -> bytes:
    """All metrics of the process."""
    return generate_latest(REGISTRY)
