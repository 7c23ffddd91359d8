"""Numbers for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from descant.version import __version__

SECONDS = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)


class Metrics:
    """The metrics of one server."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self.queue_depth = Gauge("descant_queue_depth", "Clips that wait", registry=registry)
        self.slots = Gauge("descant_slots", "Places of the engine", ["state"], registry=registry)
        self.first_audio = Histogram(
            "descant_first_audio_seconds", "From the engine's start of a clip to its first audio",
            buckets=SECONDS, registry=registry,
        )  # fmt: skip
        self.real_time_factor = Gauge(
            "descant_real_time_factor", "Seconds taken for a second of audio", registry=registry
        )
        self.jobs = Counter("descant_jobs", "Jobs that have ended", ["state"], registry=registry)
        self.rejected = Counter("descant_rejected", "Requests that were refused", ["problem"], registry=registry)
        self.cancelled = Counter("descant_cancelled", "Clips that were cancelled", ["when"], registry=registry)
        self.unchecked = Counter(
            "descant_unchecked", "Requests that the engine has not checked", ["why"], registry=registry
        )
        self.deaths = Counter("descant_engine_deaths", "Times that the engine has died", registry=registry)
        self.stream_readers = Gauge("descant_stream_readers", "Open streams of audio", registry=registry)
        self.event_readers = Gauge("descant_sse_clients", "Open streams of events", registry=registry)
        self.storage = Gauge("descant_storage_bytes", "Bytes on disk", ["kind"], registry=registry)
        self.requests = Histogram(
            "descant_http_request_seconds", "Until the headers of the answer", ["route", "status"],
            buckets=SECONDS, registry=registry,
        )  # fmt: skip
        Gauge("descant_build_info", "The version", ["version"], registry=registry).labels(__version__).set(1)

    def text(self) -> bytes:
        """All of them, in the text format."""
        return generate_latest(self._registry)
