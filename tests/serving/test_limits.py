"""Keys, the gate, numbers of repeated requests, and counters."""

from __future__ import annotations

import pytest

from aha.serving.auth import Keys
from aha.serving.errors import ApiError, to_json
from aha.serving.limits import Gate, Repeats
from aha.serving.metrics import Metrics


@pytest.mark.parametrize(
    ("header", "admitted"),
    [
        (b"Bearer one", True),
        (b"bearer two", True),
        (b"Bearer  one ", True),
        (b"Bearer three", False),
        (b"Bearer ", False),
        (b"Bearer", False),
        (b"one", False),
        (b"Basic one", False),
        (b"Bearer \xff\xfe", False),
        (b"", False),
        (None, False),
    ],
)
def test_keys(header: bytes | None, admitted: bool) -> None:
    assert Keys(["one", "two"]).admit(header) is admitted
    assert Keys([]).admit(header) is True


def test_the_gate_counts() -> None:
    metrics = Metrics()
    gate = Gate(2, 3, metrics)
    gate.enter(4)
    metrics.observe("e2e_request_latency_seconds", 8.0)
    with pytest.raises(ApiError) as refused:
        gate.enter(2)
    assert refused.value.status == 429 and refused.value.headers == {"Retry-After": "16"}
    gate.enter(1)
    gate.leave(5)
    gate.enter(5)
    assert "aha_refused_total 1" in metrics.text({})


def test_repeated_requests_go_on_counting() -> None:
    repeats = Repeats()
    assert [repeats.first(b"a", n) for n in (1, 1, 4, 1)] == [0, 1, 2, 6]
    assert repeats.first(b"b", 1) == 0


def test_prometheus_text() -> None:
    metrics = Metrics()
    metrics.count("requests_total", path='/"x"\n', status="200")
    metrics.count("requests_total", path='/"x"\n', status="200")
    for seconds in (0.001, 0.003, 1000.0):
        metrics.observe("time_to_first_token_seconds", seconds)
    lines = metrics.text({"num_requests_running": 3}).splitlines()
    assert "# TYPE aha_num_requests_running gauge" in lines and "aha_num_requests_running 3" in lines
    assert r'aha_requests_total{path="/\"x\"\n",status="200"} 2' in lines
    assert 'aha_time_to_first_token_seconds_bucket{le="0.001"} 1' in lines
    assert 'aha_time_to_first_token_seconds_bucket{le="0.005"} 2' in lines
    assert 'aha_time_to_first_token_seconds_bucket{le="600.0"} 2' in lines
    assert 'aha_time_to_first_token_seconds_bucket{le="+Inf"} 3' in lines
    assert "aha_time_to_first_token_seconds_count 3" in lines


def test_json_holds_whatever_a_client_has_sent() -> None:
    assert to_json({"é": "\ud800🙂"}) == '{"é":"'.encode() + rb"\ud800" + '🙂"}'.encode()
