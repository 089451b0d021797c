"""A courier in a process of its own, for tests that kill it: the database's URL and an instant are its arguments."""

import asyncio
import ssl
import sys
from datetime import datetime
from ipaddress import ip_network
from random import Random

import asyncpg

from kosminar.engine.courier import Courier
from kosminar.engine.outbound import Sender
from kosminar.engine.writer import Writer


async def main(database_url: str, now: datetime) -> None:
    async with (
        asyncpg.create_pool(database_url, min_size=1, max_size=2) as pool,
        Writer(pool, wall=lambda: now, lane_count=1) as writer,
        Sender(
            networks=[ip_network("127.0.0.0/8")],
            user_agent="Kosminar/test",
            ssl_context=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
        ) as sender,
    ):
        courier = Courier(pool, writer, sender, wall=lambda: now, random=Random(1).random, worker_name="lone")
        await courier.run()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], datetime.fromisoformat(sys.argv[2])))
