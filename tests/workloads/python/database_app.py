"""A thread a connection, and a pool of connections to PostgreSQL that threads share: database_app.py PORT DSN.

GET /front?id=N makes a transaction of three statements that carry N. GET /fail?id=N makes one that fails.
"""
import queue
import sys

import psycopg
from routes import pooled, serve

POOL = 8
pool = queue.Queue()


def front(connection, number):
    name = f"item {number}"
    with connection.transaction():
        connection.execute("INSERT INTO items (name) VALUES (%s)", (name,))
        rows = connection.execute("SELECT name FROM items WHERE name = %s", (name,), prepare=True).fetchall()
        connection.execute(f"UPDATE items SET name = 'done {number}' WHERE name = 'item {number}'")
    assert rows == [(name,)], rows


def fail(connection, number):
    try:
        connection.execute(f"SELECT * FROM missing WHERE name = 'item {number}'")
    except psycopg.errors.UndefinedTable:
        return
    raise AssertionError("it is missing")


for _ in range(POOL):
    pool.put(psycopg.connect(sys.argv[2], autocommit=True))
serve(int(sys.argv[1]), {"/front": pooled(pool, front), "/fail": pooled(pool, fail)})
