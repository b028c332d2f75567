"""The shop's front: Flask, run by gunicorn with threads. Asks pricing, then orders."""
import os

import requests
from flask import Flask, request

app = Flask(__name__)
http = requests.Session()


@app.get("/checkout/<product>")
def checkout(product):
    visit = request.args.get("id", "0")
    price = http.get(f"http://127.0.0.1:{os.environ['PRICING']}/price/{product}?id={visit}", timeout=10)
    if price.status_code != 200:
        return {"error": f"no {product}"}, price.status_code
    order = http.post(
        f"http://127.0.0.1:{os.environ['ORDERS']}/orders?id={visit}",
        json={"product": product, "price": price.json()["price"]},
        timeout=10,
    )
    return order.json(), order.status_code
