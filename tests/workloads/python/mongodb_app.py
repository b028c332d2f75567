"""A thread a connection, and a pool of connections to MongoDB that threads share: mongodb_app.py PORT MONGODB.

GET /front?id=N writes, reads and changes a document that carries N. GET /fail?id=N writes one that is there already.
"""
import sys

import pymongo
from routes import serve

PORT, MONGODB = int(sys.argv[1]), int(sys.argv[2])


def front(number):
    items.insert_one({"_id": int(number), "name": f"item {number}"})
    (found,) = items.find({"name": f"item {number}"})
    assert found["_id"] == int(number), found
    items.update_one({"_id": int(number)}, {"$set": {"name": f"done {number}"}})


def fail(number):
    try:
        items.insert_one({"_id": int(number)})
    except pymongo.errors.DuplicateKeyError:
        return
    raise AssertionError("it is there already")


items = pymongo.MongoClient("127.0.0.1", MONGODB, directConnection=True, maxPoolSize=6).shop.items
items.count_documents({})
serve(PORT, {"/front": front, "/fail": fail})
