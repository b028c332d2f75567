"""A FastAPI service for uvicorn that mixes requests: see mix.py. /plain is served on a thread of the framework's pool."""
from contextlib import asynccontextmanager

from fastapi import FastAPI, Response

import mix


@asynccontextmanager
async def lifespan(app):
    async with mix.session() as app.state.client:
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/front")
async def front(id: int):
    return Response(f"fastapi {id}\n", status_code=await mix.work(app.state.client, id))


@app.get("/plain")
def plain(id: int):
    return Response(f"fastapi {id}\n", status_code=mix.blocking("leaf", id))
