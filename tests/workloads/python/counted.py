"""Redis, memcached, NATS, RabbitMQ and PostgreSQL under 64 connections each, pipelined at full speed:
counted.py REDIS DSN MEMCACHED NATS MONITOR RABBITMQ ROUNDS FILE, where MONITOR is the port at which NATS tells what it counts.

What is asked says what its answer has to be: INCRBY of a key `word:...` fails and of one `number:...` does not; memcached has a key
`there:...` and none `gone:...`, and RabbitMQ messages in such queues; a statement's parameter is the number of its rows. FILE gets what the servers counted, as JSON.
"""
import json
import random
import socket
import sys
import threading
import time
import urllib.request

import amqp
import psycopg
import redis

REDIS, DSN, MEMCACHED, NATS, MONITOR, RABBITMQ = int(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:7])
ROUNDS, FILE = int(sys.argv[7]), sys.argv[8]
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


def ask_memcached(number):
    with socket.create_connection(("127.0.0.1", MEMCACHED)) as connection, connection.makefile("rb") as answers:
        connection.sendall(f"set there:{number} 0 0 1\r\na\r\n".encode())
        assert answers.readline() == b"STORED\r\n"
        for _ in range(ROUNDS):
            keys = [f"{random.choice(('there', 'gone'))}:{number}" for _ in range(25)]
            connection.sendall("".join(f"get {key}\r\n" for key in keys).encode())
            left = len(keys)
            while left > 0:
                left -= answers.readline() == b"END\r\n"


def memcached_counts():
    with socket.create_connection(("127.0.0.1", MEMCACHED)) as connection, connection.makefile("rb") as answers:
        connection.sendall(b"stats\r\n")
        lines = iter(lambda: answers.readline().split(), [b"END"])
        counts = {name.decode(): value for _, name, value in lines}
    return {f"memcached {name}": int(counts[f"cmd_{name}"]) for name in ("get", "set")}


def publish(number):
    with socket.create_connection(("127.0.0.1", NATS)) as connection, connection.makefile("rb") as answers:
        assert answers.readline().startswith(b"INFO ")
        connection.sendall(b'CONNECT {"verbose":false}\r\n')
        for _ in range(ROUNDS):
            connection.sendall(f"PUB counted.{number} 5\r\nhello\r\n".encode() * 25)
        connection.sendall(b"PING\r\n")
        assert answers.readline() == b"PONG\r\n"


def nats_counts():
    with urllib.request.urlopen(f"http://127.0.0.1:{MONITOR}/varz") as answer:
        return {"nats publish": json.load(answer)["in_msgs"]}


def held(channel, queue):
    """Messages in a queue, by RabbitMQ's count; what was published reaches it in a moment."""
    before = -1
    while (now := channel.queue_declare(queue, passive=True).message_count) != before:
        before = now
        time.sleep(0.5)
    return now


class Queues:
    """What RabbitMQ's queues held when all was published, and what they had lost when enough was asked for."""

    def __init__(self):
        self.counts = {"rabbitmq publish": 0, "rabbitmq get": 0}
        self.lock = threading.Lock()

    def use(self, number):
        with amqp.Connection(f"127.0.0.1:{RABBITMQ}") as connection:
            channel = connection.channel()
            there, gone = f"there:{number}", f"gone:{number}"
            for queue in (there, gone):
                channel.queue_declare(queue, auto_delete=False)
            for _ in range(ROUNDS * 25):
                channel.basic_publish(amqp.Message("hello"), routing_key=there)
            stored = held(channel, there)
            for _ in range(ROUNDS):
                channel.basic_get(random.choice((there, gone)), no_ack=True)
            left = held(channel, there)
        with self.lock:
            self.counts["rabbitmq publish"] += stored
            self.counts["rabbitmq get"] += stored - left


def at_once(ask):
    threads = [threading.Thread(target=ask, args=(number,)) for number in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


with psycopg.connect(DSN, autocommit=True) as first:
    first.execute("CREATE EXTENSION pg_stat_statements")
    at_once(ask_redis)
    at_once(ask_memcached)
    at_once(publish)
    queues = Queues()
    at_once(queues.use)
    at_once(ask_postgresql)
    found = first.execute(
        "SELECT calls FROM pg_stat_statements WHERE query LIKE '%generate_series%' AND query NOT LIKE '%pg_stat%'"
    ).fetchall()
    statistics = redis.Redis(port=REDIS).info("commandstats")
    counted = {f"redis {name.upper()}": statistics[f"cmdstat_{name}"]["calls"] for name in ("incrby", "set")}
    counted |= memcached_counts() | nats_counts() | queues.counts
    counted["postgresql SELECT"] = sum(calls for (calls,) in found)
with open(FILE, "w") as file:
    json.dump(counted, file)
