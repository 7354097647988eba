"""The operator's own metrics."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class Metrics:
    """Counts and times of reconciles, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.reconciles = Counter(
            "nacelle_reconciles_total",
            "Reconciles by kind and outcome (done, retried, refused, failed).",
            ("kind", "outcome"),
            registry=self.registry,
        )
        self.seconds = Histogram(
            "nacelle_reconcile_seconds",
            "Seconds a reconcile takes, from observing to the last write.",
            ("kind",),
            buckets=(0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
            registry=self.registry,
        )
        self.writes = Counter(
            "nacelle_api_writes_total",
            "Writes to the API server by what they do.",
            ("verb",),
            registry=self.registry,
        )
        self.requests = Counter(
            "nacelle_api_requests_total",
            "Calls of the API server but for watches, by method, resource and answer.",
            ("method", "resource", "code"),
            registry=self.registry,
        )
        self.events = Counter(
            "nacelle_watch_events_total",
            "Watch events taken in, by kind.",
            ("kind",),
            registry=self.registry,
        )
        self.queue_depth = Gauge(
            "nacelle_queue_depth",
            "Keys that are due and wait for a worker.",
            registry=self.registry,
        )
        self.leader = Gauge("nacelle_leader", "1 while this process leads.", registry=self.registry)
