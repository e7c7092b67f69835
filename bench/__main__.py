"""`make bench`: benchmarks as ratios of one run. `--quick` for a short look, `--output json` for machines."""

import argparse
import json

from rich.console import Console
from rich.table import Table

from bench import fan_out, get_parameter, postgresql


def main() -> None:
    """Run them one after another and print one table each."""
    options = argparse.ArgumentParser(prog="bench")
    options.add_argument("--quick", action="store_true", help="one short round of each")
    options.add_argument("--nodes", type=int, default=200, help="scripted agents of the fan-out")
    options.add_argument("--rounds", type=int, help="default 5, quick 1")
    options.add_argument("--seconds", type=float, help="length of a measurement of requests; default 3, quick 1")
    options.add_argument("--output", choices=["table", "json"], default="table")
    chosen = options.parse_args()
    rounds = chosen.rounds or (1 if chosen.quick else 5)
    seconds = chosen.seconds or (1.0 if chosen.quick else 3.0)
    results = {
        "GetParameter with decryption, 32 connections, SQLite": get_parameter.measure(rounds, seconds),
        f"One command on {chosen.nodes} scripted agents, SQLite": fan_out.measure(rounds, chosen.nodes),
    }
    if url := postgresql.reachable():
        with postgresql.database(url) as fresh:
            results["GetParameter with decryption, 32 connections, PostgreSQL"] = get_parameter.measure(
                rounds, seconds, database=fresh
            )
        with postgresql.database(url) as fresh:
            results[f"One command on {chosen.nodes} scripted agents, PostgreSQL"] = fan_out.measure(
                rounds, chosen.nodes, "--database", fresh
            )
    if chosen.output == "json":
        print(json.dumps(results, indent=2))
        return
    for title, figures in results.items():
        table = Table("figure", "median", title=title, title_justify="left", min_width=64)
        for name, value in figures.items():
            table.add_row(name, f"{value:,.3f}" if value < 10 else f"{value:,.0f}")
        Console().print(table)


if __name__ == "__main__":
    main()
