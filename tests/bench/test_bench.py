"""The benchmarks run to their end and give their figures; how large those are is nobody's business here."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_benchmark_gives_its_figures() -> None:
    command = [sys.executable, "-m", "bench", "--rounds", "1", "--seconds", "0.1", "--nodes", "3", "--output", "json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    reads = results["GetParameter with decryption, 32 connections, SQLite"]
    fan_out = results["One command on 3 scripted agents, SQLite"]
    assert reads["GetParameter per second"] > 0
    assert reads["share of echo"] > 0
    assert fan_out["nodes per second"] > 0
    assert fan_out["share of the bare gateway"] > 0
    assert fan_out["ms from reply to receipt, p99"] > 0
    events = results["PutLogEvents, 16 connections, SQLite"]
    assert events["share of bare rows, 100 to a call"] > 0
    puts = results["PutParameter, 16 connections, SQLite"]
    assert puts["of bare write"] > 0
    assert puts["p99 ms"] >= puts["p50 ms"]
    assert results["GetParametersByPath of 10, 64 connections, SQLite"]["of GetParameter"] > 0
    for figures in results.values():
        assert all(value > 0 for value in figures.values() if not isinstance(value, str)), figures
