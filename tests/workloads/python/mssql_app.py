"""A thread a connection, and pools of connections to SQL Server: mssql_app.py PORT SERVER PLAIN|LOGIN|TLS [CERTIFICATE].

GET /front?id=N makes a transaction of statements that carry N through python-tds, GET /free?id=N a statement through pymssql (FreeTDS);
GET /fail?id=N makes one of each that fails.
"""
import queue
import sys

import pymssql
import pytds
from routes import pooled, serve

POOL = 8
MODE = sys.argv[3]
NAMED = {"port": int(sys.argv[2]), "user": "shop", "password": "hidden", "database": "shop", "appname": "till"}
SECURE = {"cafile": sys.argv[4], "validate_host": False, "enc_login_only": MODE == "LOGIN"} if MODE != "PLAIN" else {}


class Client:
    def __init__(self):
        self.one = pytds.connect("127.0.0.1", **NAMED, **SECURE, autocommit=False)
        self.cursor = self.one.cursor()
        self.other = pymssql.connect("127.0.0.1", **NAMED, encryption="off" if MODE == "PLAIN" else "request")
        self.free_cursor = self.other.cursor()

    def front(self, number):
        name = f"item {number}"
        self.cursor.execute("INSERT INTO items (name) VALUES (%s)", (name,))
        self.cursor.execute("SELECT name FROM items WHERE name = %s", (name,))
        rows = self.cursor.fetchall()
        self.cursor.execute(f"UPDATE items SET name = 'done {number}' WHERE name = 'item {number}'")
        self.one.commit()
        assert rows == [(name,)], rows

    def free(self, number):
        self.free_cursor.execute("SELECT name FROM [dbo].[items] WHERE name = %s", (f"item {number}",))
        rows = self.free_cursor.fetchall()
        assert rows == [(f"item {number}",)], rows

    def fail(self, number):
        for cursor, error in ((self.cursor, pytds.Error), (self.free_cursor, pymssql.Error)):
            try:
                cursor.execute(f"SELECT * FROM missing WHERE name = 'item {number}'")
            except error:
                continue
            raise AssertionError("it is missing")


pool = queue.Queue()
for _ in range(POOL):
    pool.put(Client())
routes = {f"/{name}": pooled(pool, work) for name, work in (("front", Client.front), ("free", Client.free), ("fail", Client.fail))}
serve(int(sys.argv[1]), routes)
