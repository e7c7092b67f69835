"""`make bench`: benchmarks as ratios of one run. `--quick` for a short look, `--output json` for machines."""

import argparse
import json
from typing import Any

from bench import (
    associations,
    beside,
    fan_out,
    get_parameter,
    inventory,
    large_fleet,
    log_events,
    objects,
    parameters,
    peers,
    policies,
    postgresql,
    real_agents,
    runbooks,
    scale,
    schedules,
    sessions,
    start,
    turns,
    workers,
)
from bench.tables import show


def main() -> None:
    """Run them one after another and print tables."""
    options = argparse.ArgumentParser(prog="bench")
    options.add_argument("--quick", action="store_true", help="one short round of each")
    options.add_argument("--nodes", type=int, default=200, help="scripted agents of the fan-out")
    options.add_argument("--rounds", type=int, help="default 5, quick 1")
    options.add_argument("--seconds", type=float, help="length of a measurement of requests; default 3, quick 1")
    options.add_argument("--parameters", action="store_true", help="Parameter Store alone, at 1, 16, 64 connections")
    options.add_argument("--scale", action="store_true", help="1,000 to 1,000,000 parameters stored; some minutes")
    options.add_argument("--flood", action="store_true", help="callers beside slow, huge and guessing clients, by kind")
    options.add_argument("--fleet", action="store_true", help="many scripted agents, idle and at work; real agents")
    options.add_argument("--agents", type=int, default=10_000, help="scripted agents of --fleet")
    options.add_argument("--real", type=int, default=50, help="real agents of --fleet")
    options.add_argument("--idle", type=float, default=60.0, help="seconds for which agents are watched idle")
    options.add_argument("--inventory", action="store_true", help="inventory of 5,000 nodes with 1,000 packages each")
    options.add_argument("--packages", type=int, default=1_000, help="on each of the --agents nodes of --inventory")
    options.add_argument("--schedules", action="store_true", help="10,000 associations; one on 2,000 agents")
    options.add_argument("--start", action="store_true", help="start times, also with 1,000,000 invocations stored")
    options.add_argument("--sessions", type=int, default=50, help="sessions at once, of those that are held")
    options.add_argument("--only-sessions", action="store_true", help="sessions alone")
    options.add_argument("--output", choices=["table", "json"], default="table")
    chosen = options.parse_args()
    rounds = chosen.rounds or (1 if chosen.quick else 5)
    seconds = chosen.seconds or (1.0 if chosen.quick else 3.0)
    results: dict[str, Any] = {}
    if chosen.scale:
        _scale(results, rounds, seconds)
    elif chosen.fleet:
        results |= large_fleet.measure(rounds, chosen.agents, chosen.idle)
        results[f"One command on {chosen.real} real agents"] = real_agents.measure(rounds, chosen.real, chosen.idle)
    elif chosen.inventory:
        _inventory(results, min(chosen.agents, inventory.NODES), chosen.packages)
    elif chosen.schedules:
        _schedules(results, rounds, min(chosen.agents, associations.NODES), chosen.quick)
    elif chosen.start:
        results["Starts, and a command, with much stored"] = start.measure(rounds)
    elif chosen.flood:
        results["GetParameter alone and beside a flood of all kinds"] = beside.measure(rounds, seconds)
        results["GetParameter alone and beside one kind"] = beside.measure(rounds, seconds, kinds=True)
        results["Turns of the server's event loop beside a flood"] = turns.measure(seconds)
    elif chosen.only_sessions:
        _sessions(results, rounds, seconds, chosen.sessions)
    elif chosen.parameters:
        _parameters(results, rounds, seconds)
    else:
        _usual(results, rounds, seconds, chosen.nodes)
        _sessions(results, rounds, seconds, chosen.sessions)
        _parameters(results, 1 if chosen.quick else min(rounds, 3), min(seconds, 1.0))
    if chosen.output == "json":
        print(json.dumps(results, indent=2))
        return
    show(results)


def _inventory(results: dict[str, Any], nodes: int, packages: int) -> None:
    what = f"Inventory of {nodes:,} nodes with {packages:,} packages"
    results[f"{what}, SQLite"] = inventory.measure(nodes, packages)
    if url := postgresql.reachable():
        with postgresql.database(url) as fresh:
            results[f"{what}, PostgreSQL"] = inventory.measure(nodes, packages, database=fresh)


def _schedules(results: dict[str, Any], rounds: int, nodes: int, quick: bool) -> None:
    what = f"One association on {nodes:,} scripted agents at once"
    results[f"{what}, SQLite"] = associations.measure(rounds, nodes)
    if url := postgresql.reachable():
        with postgresql.database(url) as fresh:
            results[f"{what}, PostgreSQL"] = associations.measure(rounds, nodes, "--database", fresh)
        results |= schedules.measure(rounds, url, schedules.ASSOCIATIONS // 10 if quick else schedules.ASSOCIATIONS)


def _sessions(results: dict[str, Any], rounds: int, seconds: float, many: int) -> None:
    megabytes = max(2, round(30 * seconds))
    results["Sessions through server and agent"] = sessions.measure(rounds, seconds, many, megabytes)


def _scale(results: dict[str, Any], rounds: int, seconds: float) -> None:
    for size, figures in scale.measure(rounds, seconds).items():
        results[f"{size} parameters stored, SQLite"] = figures
    if url := postgresql.reachable():
        for size, figures in scale.measure(rounds, seconds, database=url).items():
            results[f"{size} parameters stored, PostgreSQL"] = figures


def _parameters(results: dict[str, Any], rounds: int, seconds: float) -> None:
    for what, figures in parameters.measure(rounds, seconds).items():
        results[f"{what} connections, SQLite"] = figures
    if url := postgresql.reachable():
        with postgresql.database(url) as fresh:
            for what, figures in parameters.measure(rounds, seconds, database=fresh).items():
                results[f"{what} connections, PostgreSQL"] = figures
    for peer, found in peers.measure(seconds).items():
        results[f"{peer}, 16 connections"] = {"state": found} if isinstance(found, str) else found


def _usual(results: dict[str, Any], rounds: int, seconds: float, nodes: int) -> None:
    executions = 1000 if rounds > 1 else 200
    results |= {
        "Policies of a user: two managed, one inline, a boundary; 13 statements": policies.measure(rounds),
        "GetParameter with decryption, 32 connections, SQLite": get_parameter.measure(rounds, seconds),
        "GetParameter with decryption by one worker and by two, SQLite": workers.measure(rounds, seconds),
        "PutLogEvents, 16 connections, SQLite": log_events.measure(rounds, seconds),
        f"One command on {nodes} scripted agents, SQLite": fan_out.measure(rounds, nodes),
        "Objects of 10 KB, 16 connections, SQLite": objects.measure(rounds, seconds),
        f"{executions} executions of 10 quick steps, SQLite": runbooks.measure(min(rounds, 3), executions),
        "GetParameter alone and beside a flood of all kinds": beside.measure(rounds, seconds),
    }
    if url := postgresql.reachable():
        with postgresql.database(url) as fresh:
            results["GetParameter with decryption, 32 connections, PostgreSQL"] = get_parameter.measure(
                rounds, seconds, database=fresh
            )
        with postgresql.database(url) as fresh:
            results["PutLogEvents, 16 connections, PostgreSQL"] = log_events.measure(rounds, seconds, database=fresh)
        with postgresql.database(url) as fresh:
            results[f"{executions} executions of 10 quick steps, PostgreSQL"] = runbooks.measure(
                min(rounds, 3), executions, "--database", fresh
            )
        with postgresql.database(url) as fresh:
            results[f"One command on {nodes} scripted agents, PostgreSQL"] = fan_out.measure(
                rounds, nodes, "--database", fresh
            )


if __name__ == "__main__":
    main()
