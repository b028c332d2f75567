"""A thread a connection, and a session of Cassandra that threads share: cassandra_app.py PORT CASSANDRA.

GET /front?id=N writes, reads and changes a row that carries N. GET /fail?id=N asks for a column that there is not.
"""
import sys

from cassandra import ConsistencyLevel, InvalidRequest
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
from routes import serve

PORT, CASSANDRA = int(sys.argv[1]), int(sys.argv[2])
KEYSPACE = "CREATE KEYSPACE shop WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}"


def front(number):
    session.execute(f"INSERT INTO items (id, name) VALUES ({number}, 'item {number}')")
    assert session.execute(f"SELECT name FROM items WHERE id = {number}").one().name == f"item {number}"
    session.execute(update, (f"done {number}", int(number)))


def fail(_number):
    try:
        session.execute("SELECT nothing FROM items")
    except InvalidRequest:
        return
    raise AssertionError("there is no such column")


profile = ExecutionProfile(request_timeout=30)
cluster = Cluster(["127.0.0.1"], port=CASSANDRA, protocol_version=5, execution_profiles={EXEC_PROFILE_DEFAULT: profile})
session = cluster.connect()
session.execute(KEYSPACE)
session.execute("CREATE TABLE shop.items (id int PRIMARY KEY, name text)")
session.set_keyspace("shop")
update = session.prepare("UPDATE items SET name = ? WHERE id = ?")
update.consistency_level = ConsistencyLevel.QUORUM
serve(PORT, {"/front": front, "/fail": fail})
