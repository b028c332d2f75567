"""A thread a connection, and a pool of connections to MariaDB that threads share: mysql_app.py PORT MARIADB_PORT PLAIN|TLS.

GET /front?id=N makes a transaction of statements that carry N, one of them prepared. GET /fail?id=N makes one that fails.
"""
import queue
import sys

import mysql.connector
from routes import pooled, serve

POOL = 8
pool = queue.Queue()
HOW = {"host": "127.0.0.1", "port": int(sys.argv[2]), "user": "shop", "ssl_disabled": sys.argv[3] == "PLAIN"}
HOW |= {"autocommit": True, "use_pure": True, "collation": "utf8mb4_general_ci"}


class Client:
    """A connection, and a statement that is prepared on it when it is first needed."""

    def __init__(self):
        self.connection = mysql.connector.connect(**HOW, database="shop")
        self.text = self.connection.cursor()
        self.prepared = self.connection.cursor(prepared=True)

    def front(self, number):
        name = f"item {number}"
        self.text.execute("BEGIN")
        self.text.execute("INSERT INTO items (name) VALUES (%s)", (name,))
        self.prepared.execute("SELECT name FROM items WHERE name = ?", (name,))
        rows = self.prepared.fetchall()
        self.text.execute(f"UPDATE items SET name = 'done {number}' WHERE name = 'item {number}'")
        self.text.execute("COMMIT")
        assert rows == [(name,)], rows

    def fail(self, number):
        try:
            self.text.execute(f"SELECT * FROM missing WHERE name = 'item {number}'")
        except mysql.connector.errors.ProgrammingError:
            return
        raise AssertionError("it is missing")


with mysql.connector.connect(**HOW) as first:
    cursor = first.cursor()
    cursor.execute("CREATE DATABASE shop")
    cursor.execute("CREATE TABLE shop.items (id int AUTO_INCREMENT PRIMARY KEY, name varchar(40), KEY (name)) ENGINE=InnoDB")
for _ in range(POOL):
    pool.put(Client())
serve(int(sys.argv[1]), {"/front": pooled(pool, Client.front), "/fail": pooled(pool, Client.fail)})
