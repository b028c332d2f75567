"""A Flask service for gunicorn (gthread). Asks NEXT (PORT/path), if set, with the same number."""
import os

import requests
from flask import Flask, request

NEXT = os.environ.get("NEXT")
app = Flask(__name__)
session = requests.Session()
SCHEME = os.environ.get("SCHEME", "http")
session.mount(f"{SCHEME}://", requests.adapters.HTTPAdapter(pool_maxsize=64))


@app.get("/<path:_path>")
def answer(_path):
    number = request.args.get("id", "0")
    if NEXT:
        port, path = NEXT.split("/", 1)
        status = session.get(f"{SCHEME}://127.0.0.1:{port}/{path}?id={number}", timeout=30).status_code
        return f"flask {number}\n", status
    return f"flask {number}\n"
