"""The benchmarks run to their end and give their figures; how large those are is nobody's business here."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_benchmark_gives_its_figures() -> None:
    few = ["--rounds", "1", "--seconds", "0.1", "--nodes", "3", "--sessions", "2"]
    command = [sys.executable, "-m", "bench", *few, "--output", "json"]
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
    assert results["Sessions through server and agent"]["sessions held at once"] == 2
    for figures in results.values():
        assert all(value > 0 for value in figures.values() if not isinstance(value, str)), figures


def test_a_fleet_gives_its_figures() -> None:
    few = ["--fleet", "--agents", "8", "--real", "2", "--rounds", "1", "--idle", "1"]
    command = [sys.executable, "-m", "bench", *few, "--output", "json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    assert results["8 idle scripted agents over TLS"]["agents held"] == 8
    assert results["One command on 8 scripted agents"]["nodes per second"] > 0
    real = results["One command on 2 real agents"]
    assert real["nodes per second"] > 0
    assert real["resident MiB of an agent"] > 0


def test_inventory_gives_its_figures() -> None:
    few = ["--inventory", "--agents", "3", "--packages", "5"]
    command = [sys.executable, "-m", "bench", *few, "--output", "json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    assert results["Inventory of 3 nodes with 5 packages, SQLite"]["CPU ms of a first PutInventory"] > 0


def test_schedules_give_their_figures() -> None:
    few = ["--schedules", "--quick", "--agents", "10"]
    command = [sys.executable, "-m", "bench", *few, "--output", "json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    assert results["One association on 10 scripted agents at once, SQLite"]["nodes per second"] > 0
    if many := results.get("1,000 associations and 100 windows, PostgreSQL"):
        assert many["statements"] > 30
