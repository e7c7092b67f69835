"""Metrics in Prometheus' text form, served at `/metrics`. Counting of calls happens once, in `wire/dispatch`."""

from bisect import bisect_left
from collections.abc import Iterable

from prometheus_client import REGISTRY, Counter, Gauge, generate_latest
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Calls(Collector):
    """Counts API calls by outcome and their times by service: plain numbers, made into metrics when somebody asks.

    The library's own counters take a lock and some microseconds at each step.
    """

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str, str], int] = {}
        self._times: dict[str, list[float]] = {}
        """By service: calls up to each bound, those above all bounds, the sum of their seconds."""

    def add(self, service: str, operation: str, code: str, seconds: float) -> None:
        """One call, and how long it took from the parsed request to the answer."""
        outcome = service, operation, code
        self._counts[outcome] = self._counts.get(outcome, 0) + 1
        times = self._times.get(service)
        if times is None:
            times = self._times[service] = [0.0] * (len(_BOUNDS) + 2)
        times[bisect_left(_BOUNDS, seconds)] += 1
        times[-1] += seconds

    def collect(self) -> Iterable[Metric]:
        """The metrics of this moment, for the registry."""
        counts = CounterMetricFamily(
            "pilothouse_calls", "API calls by outcome.", labels=["service", "operation", "code"]
        )
        for outcome, count in list(self._counts.items()):
            counts.add_metric(outcome, count)
        times = HistogramMetricFamily(
            "pilothouse_call_seconds", "Time from the parsed request to the answer.", labels=["service"]
        )
        for service, numbers in list(self._times.items()):
            below, buckets = 0.0, []
            for bound, number in zip((*map(str, _BOUNDS), "+Inf"), numbers[:-1], strict=True):
                below += number
                buckets.append((bound, below))
            times.add_metric([service], buckets, numbers[-1])
        return [counts, times]


CALLS = Calls()
REGISTRY.register(CALLS)
NODE_REFUSALS = Counter("pilothouse_node_refusals_total", "Calls of nodes outside their closed list of verbs.")
CONNECTIONS_REFUSED = Counter(
    "pilothouse_connections_refused_total", "Connections closed at once, by the limit that was reached.", ["limit"]
)
CONNECTIONS_DROPPED = Counter(
    "pilothouse_connections_dropped_total", "Connections cut off, by what they did not do in time.", ["reason"]
)
REQUESTS_REFUSED = Counter(
    "pilothouse_requests_refused_total",
    "Requests refused before anybody looked at what they ask, by status.",
    ["status"],
)
THROTTLED = Counter("pilothouse_throttled_total", "Calls answered with `Rate exceeded`, by the limit.", ["limit"])
OPEN_CONNECTIONS = Gauge("pilothouse_connections", "Connections that are open on this process.")
REGISTRATION_REFUSALS = Counter(
    "pilothouse_registration_refusals_total", "Registrations of nodes that were refused.", ["reason"]
)
CHANNELS = Gauge("pilothouse_control_channels", "Control channels of nodes that are open on this process.")
DATA_CHANNELS = Gauge("pilothouse_data_channels", "Data channels of sessions that are open on this process.", ["role"])
SESSION_TOKENS_REFUSED = Counter(
    "pilothouse_session_tokens_refused_total", "Data channels that were not opened for want of a good token."
)
SESSION_FRAMES_REFUSED = Counter(
    "pilothouse_session_frames_refused_total", "Data channels closed for what came on them, by who sent it.", ["role"]
)
SECRET_ROTATIONS = Counter(
    "pilothouse_secret_rotations_total", "Rotations of secrets that ended, by outcome.", ["outcome"]
)
SECRETS_WARNED = Gauge(
    "pilothouse_secrets_warned", "Secrets that somebody should look at, by what is the matter.", ["warning"]
)
JOB_FAILURES = Counter("pilothouse_job_failures_total", "Runs of background jobs that failed.", ["job"])
ROLE = Gauge("pilothouse_role", "Processes that have the role.", ["role"])


class FiguresMissing(Exception):
    """The figures of all processes could not be had in time."""


def render() -> bytes:
    """All metrics of the process."""
    return generate_latest(REGISTRY)
