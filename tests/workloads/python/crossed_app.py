"""A Flask service for gunicorn (gthread) in which requests meet, though none works for another: see what each path does.

Every request runs work of its own in the context that another request left behind (/borrowed), work of its own that takes
a token out of a queue which another request put there (/own), and, after it has thrown away work of others that was not
begun yet, a call by itself (/after).
"""
import contextvars
import os
import queue
import threading
from concurrent.futures import ThreadPoolExecutor

import requests
from flask import Flask, request

PORT = os.environ["NEXT"].split("/", 1)[0]
app = Flask(__name__)
session = requests.Session()
session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=64))
pool = ThreadPoolExecutor(8)
tokens = queue.SimpleQueue()
for _ in range(4):
    tokens.put(object())
lock = threading.Lock()
left = contextvars.copy_context()
lent = [ThreadPoolExecutor(1)]


def get(path, number):
    return session.get(f"http://127.0.0.1:{PORT}/{path}?id={number}", timeout=30).status_code


def with_token(path, number):
    token = tokens.get()
    try:
        return get(path, number)
    finally:
        tokens.put(token)


def swap_contexts():
    global left
    with lock:
        mine, left = left, contextvars.copy_context()
        return mine


def swap_pools():
    """Leaves work in a pool that one of the next requests throws away, and throws away what lies in the pool before."""
    started, go_on = threading.Event(), threading.Event()
    fresh = ThreadPoolExecutor(1)
    fresh.submit(lambda: (started.set(), go_on.wait(30)))
    started.wait(30)
    for _ in range(3):
        fresh.submit(print)
    with lock:
        old = lent.pop()
        lent.append(fresh)
    old.shutdown(wait=False, cancel_futures=True)
    go_on.set()


@app.get("/front")
def front():
    number = request.args["id"]
    calls = [pool.submit(swap_contexts().run, get, "borrowed", number), pool.submit(with_token, "own", number)]
    codes = [call.result() for call in calls]
    swap_pools()
    codes.append(get("after", number))
    return f"crossed {number}\n", max(codes)
