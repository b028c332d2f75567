"""A Flask service for gunicorn whose calls leave on the threads of a pool: two at once for each request."""
import os
from concurrent.futures import ThreadPoolExecutor

import requests
from flask import Flask, request

PORT = os.environ["NEXT"].split("/", 1)[0]
app = Flask(__name__)
session = requests.Session()
session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=64))
pool = ThreadPoolExecutor(16)


def get(path, number):
    return session.get(f"http://127.0.0.1:{PORT}/{path}?id={number}", timeout=30).status_code


@app.get("/front")
def front():
    number = request.args["id"]
    calls = [pool.submit(get, path, number) for path in ("a", "b")]
    return f"pooled {number}\n", max(call.result() for call in calls)
