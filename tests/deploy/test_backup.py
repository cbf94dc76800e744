"""The commands of docs/operations.md that take a backup of Redis and restore it, on a real one."""

import re
import subprocess
from pathlib import Path

from redis.asyncio import Redis

from tests.support.redis_server import needs_redis, redis_server
from tests.support.servers import ROOT

POD = re.compile(r"kubectl -n parley exec (?:-i )?redis-0 -- ")


def commands() -> list[str]:
    """Those of the page, one a line: take, restore, end the server."""
    page = (ROOT / "docs" / "operations.md").read_text("utf-8")
    section = page.partition("## Backup of Redis")[2].partition("\n## ")[0]
    return [line for line in section.splitlines() if POD.match(line)]


@needs_redis
async def test_a_restored_redis_holds_what_the_backup_held(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    async with redis_server("--appendonly", "yes", "--dir", str(data)) as server:

        def run(command: str) -> None:
            here = POD.sub("", command).replace("redis-cli", f"redis-cli -p {server.port}").replace("/data", str(data))
            subprocess.run(("bash", "-e", "-c", here), cwd=tmp_path, check=True, capture_output=True)

        take, *restore = commands()
        async with Redis.from_url(server.address) as redis:
            await redis.set("before", "the backup")
            run(take)
            await redis.set("after", "the backup")
        for command in restore:
            run(command)
        await server.start()
        async with Redis.from_url(server.address) as redis:
            assert await redis.keys() == [b"before"]
