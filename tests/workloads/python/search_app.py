"""A thread a connection, and a client of OpenSearch that threads share: search_app.py PORT SEARCH.

GET /front?id=N writes a document that carries N, reads it, searches for it, and asks for one that there is not. GET /fail?id=N
searches for what is no query.
"""
import sys

from opensearchpy import NotFoundError, OpenSearch, RequestError
from routes import serve

PORT, SEARCH = int(sys.argv[1]), int(sys.argv[2])


def front(number):
    search.index(index="orders", id=number, body={"name": f"order {number}"}, refresh=True)
    assert search.get(index="orders", id=number)["_source"]["name"] == f"order {number}"
    found = search.search(index="orders", body={"query": {"ids": {"values": [number]}}})
    assert found["hits"]["total"]["value"] == 1
    try:
        search.get(index="orders", id=f"none-{number}")
    except NotFoundError:
        return
    raise AssertionError("there is no such document")


def fail(_number):
    try:
        search.search(index="orders", body={"query": {"nonsense": {}}})
    except RequestError:
        return
    raise AssertionError("that is no query")


search = OpenSearch([{"host": "127.0.0.1", "port": SEARCH}], pool_maxsize=64, timeout=60)
settings = {"index": {"number_of_shards": 1, "number_of_replicas": 0}}
search.indices.create(index="orders", body={"settings": settings})
serve(PORT, {"/front": front, "/fail": fail})
