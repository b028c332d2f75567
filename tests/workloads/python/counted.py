"""Redis and PostgreSQL under 64 connections each, pipelined at full speed: counted.py REDIS DSN ROUNDS FILE.

What is asked says what its answer has to be: INCRBY of a key `word:...` fails and of one `number:...` does not; a statement's
parameter is the number of its rows. FILE gets what the servers counted, as JSON.
"""
import json
import random
import sys
import threading

import psycopg
import redis

REDIS, DSN, ROUNDS, FILE = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
CONNECTIONS = 64
STATEMENT = "SELECT * FROM generate_series(1, %s)"


def ask_redis(number):
    connection = redis.Redis(port=REDIS)
    connection.set(f"word:{number}", "a")
    for _ in range(ROUNDS):
        pipeline = connection.pipeline(transaction=False)
        for _ in range(25):
            pipeline.incr(f"{random.choice(('word', 'number'))}:{number}")
        pipeline.execute(raise_on_error=False)


def ask_postgresql(_number):
    with psycopg.connect(DSN, autocommit=True) as connection:
        for _ in range(ROUNDS):
            with connection.pipeline():
                cursors = [connection.execute(STATEMENT, (random.randrange(9),)) for _ in range(10)]
            for cursor in cursors:
                cursor.fetchall()


def at_once(ask):
    threads = [threading.Thread(target=ask, args=(number,)) for number in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


with psycopg.connect(DSN, autocommit=True) as first:
    first.execute("CREATE EXTENSION pg_stat_statements")
    at_once(ask_redis)
    at_once(ask_postgresql)
    found = first.execute(
        "SELECT calls FROM pg_stat_statements WHERE query LIKE '%generate_series%' AND query NOT LIKE '%pg_stat%'"
    ).fetchall()
    statistics = redis.Redis(port=REDIS).info("commandstats")
    counted = {name: statistics[f"cmdstat_{name}"]["calls"] for name in ("incrby", "set")}
    counted["select"] = sum(calls for (calls,) in found)
with open(FILE, "w") as file:
    json.dump(counted, file)
