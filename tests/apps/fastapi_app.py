"""A FastAPI app with SQLAlchemy and google-genai; run by uvicorn as fastapi_app:app. GEMINI_BASE_URL names the API."""

import os
from collections.abc import AsyncIterator

from fastapi import APIRouter, BackgroundTasks, FastAPI, HTTPException
from fastapi.responses import StreamingResponse
from google import genai
from google.genai import types
from sqlalchemy import create_engine, text

app = FastAPI()
router = APIRouter(prefix="/api")
engine = create_engine("sqlite://")
client = genai.Client(
    api_key="test", http_options=types.HttpOptions(base_url=os.environ.get("GEMINI_BASE_URL", "http://127.0.0.1:1"))
)
done: list[int] = []


@router.get("/items/{item_id}")
def item(item_id: int) -> dict[str, int]:
    with engine.connect() as connection:
        doubled = connection.execute(text("select :n * 2"), {"n": item_id}).scalar_one()
    return {"id": item_id, "doubled": doubled}


@router.get("/ask")
async def ask() -> dict[str, str | None]:
    with engine.connect() as connection:
        subject = connection.execute(text("select 'whales'")).scalar_one()
    reply = await client.aio.models.generate_content(model="gemini-2.5-flash", contents=f"Tell me of {subject}.")
    return {"text": reply.text}


@router.get("/stream")
async def stream() -> StreamingResponse:
    async def lines() -> AsyncIterator[str]:
        for number in range(5):
            yield f"line {number}\n"

    return StreamingResponse(lines(), media_type="text/plain")


@router.post("/later")
async def later(tasks: BackgroundTasks) -> dict[str, int]:
    tasks.add_task(done.append, 1)
    return {"done": len(done)}


@router.get("/missing")
async def missing() -> None:
    raise HTTPException(404, "not here")


@router.get("/boom")
async def boom() -> None:
    raise RuntimeError("boom")


app.include_router(router)
