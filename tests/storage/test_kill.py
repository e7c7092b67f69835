"""kill -9 under writes: what was acknowledged is there, what was not is wholly there or wholly not."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pilothouse.storage.engines import open_database

WRITER = """
import asyncio, sys
from pilothouse.storage.engines import open_database

async def write(database, lane):
    n = 0
    while True:
        async with database.transaction() as tx:
            await tx.execute("insert into pair (lane, n, half) values (:lane, :n, 1)", lane=lane, n=n)
            await tx.execute("insert into pair (lane, n, half) values (:lane, :n, 2)", lane=lane, n=n)
        sys.stdout.write(f"{lane} {n}\\n"); sys.stdout.flush()
        n += 1

async def main():
    database = await open_database(sys.argv[1])
    async with database.transaction() as tx:
        await tx.execute("create table if not exists pair (lane bigint not null, n bigint not null,"
                         " half bigint not null, constraint pair_pk primary key (lane, n, half))")
        await tx.execute("delete from pair")
    await asyncio.gather(*(write(database, lane) for lane in range(8)))

asyncio.run(main())
"""


@pytest.mark.parametrize("round_", range(4))
async def test_acknowledged_writes_survive_kill_9(database_url: str, tmp_path: Path, round_: int) -> None:
    process = subprocess.Popen([sys.executable, "-c", WRITER, database_url], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    first = process.stdout.readline()
    time.sleep(random.uniform(0.02, 0.3))
    os.kill(process.pid, signal.SIGKILL)
    rest = process.stdout.read()
    process.wait(10)
    process.stdout.close()
    lines = (first + rest).split("\n")[:-1]  # a line cut by the kill was not acknowledged
    acknowledged = {tuple(int(part) for part in line.split()) for line in lines}
    assert acknowledged

    database = await open_database(database_url)
    try:
        async with database.reading() as tx:
            rows = await tx.rows("select lane, n, count(*) as halves from pair group by lane, n")
    finally:
        await database.close()
    assert {row["halves"] for row in rows} == {2}
    assert acknowledged <= {(row["lane"], row["n"]) for row in rows}
