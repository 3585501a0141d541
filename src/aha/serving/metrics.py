"""Counters of a server in Prometheus' text format.

metrics = Metrics()
metrics.count("requests_total", path="/v1/models", status="200")
metrics.observe("time_to_first_token_seconds", 0.02)
metrics.text({"num_requests_running": 3})
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
HELP = {
    "requests_total": "HTTP requests by path and status.",
    "request_success_total": "Samples by the reason for which they ended.",
    "prompt_tokens_total": "Tokens of prompts.",
    "generation_tokens_total": "Tokens drawn, those of thinking among them.",
    "reasoning_tokens_total": "Tokens of thinking.",
    "refused_total": "Requests refused because too many wait.",
    "engine_failures": "Failures of engines, and ends of their processes.",
    "withdrawn_total": "Answers withdrawn by risk control.",
    "time_to_first_token_seconds": "From a request's arrival to its first token.",
    "inter_token_latency_seconds": "Mean time between a sample's tokens, one value a request.",
    "e2e_request_latency_seconds": "From a request's arrival to its end.",
    "request_queue_time_seconds": "From a request's arrival to its prefill.",
    "num_requests_running": "Samples that draw tokens.",
    "num_requests_waiting": "Samples that wait.",
    "kv_cache_usage_perc": "The share of the room for keys and values that is filled, 0 to 1.",
}
Labels = tuple[tuple[str, str], ...]


@dataclass(slots=True)
class _Histogram:
    counts: list[int] = field(default_factory=lambda: [0] * (len(SECONDS) + 1))
    total: float = 0.0


class Metrics:
    """Of one server; for the event loop's thread alone."""

    def __init__(self) -> None:
        self._counts: defaultdict[str, defaultdict[Labels, float]] = defaultdict(lambda: defaultdict(float))
        self._seconds: defaultdict[str, _Histogram] = defaultdict(_Histogram)

    def count(self, name: str, by: float = 1, **labels: str) -> None:
        """Add to a counter."""
        self._counts[name][tuple(sorted(labels.items()))] += by

    def observe(self, name: str, seconds: float) -> None:
        """Note a duration."""
        histogram = self._seconds[name]
        histogram.counts[bisect_left(SECONDS, seconds)] += 1
        histogram.total += seconds

    def mean(self, name: str) -> float:
        """The mean of the durations noted under `name`; 0 where there are none."""
        histogram = self._seconds[name]
        return histogram.total / max(1, sum(histogram.counts))

    def text(self, gauges: Mapping[str, float]) -> str:
        """All of it, with `gauges` as they stand."""
        lines: list[str] = []
        for name, value in gauges.items():
            lines += [*_head(name, "gauge"), f"aha_{name} {value:g}"]
        for name, counts in sorted(self._counts.items()):
            lines += _head(name, "counter")
            lines += [f"aha_{name}{_labels(labels)} {value:.15g}" for labels, value in sorted(counts.items())]
        for name, histogram in sorted(self._seconds.items()):
            lines += _head(name, "histogram")
            so_far = 0
            for bound, count in zip([*map(str, SECONDS), "+Inf"], histogram.counts, strict=True):
                so_far += count
                lines.append(f'aha_{name}_bucket{{le="{bound}"}} {so_far}')
            lines += [f"aha_{name}_sum {histogram.total:.9g}", f"aha_{name}_count {so_far}"]
        return "\n".join(lines) + "\n"


def _head(name: str, kind: str) -> list[str]:
    return [f"# HELP aha_{name} {HELP[name]}", f"# TYPE aha_{name} {kind}"]


def _labels(labels: Labels) -> str:
    def quoted(value: str) -> str:
        return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")

    return "{" + ",".join(f'{name}="{quoted(value)}"' for name, value in labels) + "}" if labels else ""
