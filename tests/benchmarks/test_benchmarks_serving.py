"""The benchmark of the gateway asks a real Triton and drops nothing. Speed is not asserted."""

import pytest

from benchmarks import serving

SMALL = ["--size", "tiny", "--seconds", "0.3", "--soak", "3", "--clients", "2", "--turns", "1", "--most-growth", "1"]


def test_no_request_is_dropped_and_memory_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert serving.main([*SMALL, "--parts", "throughput", "switch", "soak", "--least-share", "0"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any("requests answered, 0 dropped" in line for line in lines)
    assert any(line.startswith("soak        Triton: ") for line in lines)
    assert any("of the direct client's" in line for line in lines)
