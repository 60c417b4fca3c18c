"""The demo's app: an ordinary FastAPI service that knows nothing of OpenTelemetry.

Environment: GEMINI_BASE_URL (the demo's fake server), DEMO_DATABASE (path of the SQLite file).
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from fastapi import FastAPI, HTTPException
from fastapi.responses import StreamingResponse
from google import genai
from google.genai import errors, types
from sqlalchemy import ForeignKey, create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

MODEL, LIMITED = "gemini-2.5-flash", "gemini-2.5-limited"


class Base(DeclarativeBase):
    """The tables."""


class Author(Base):
    """Somebody who writes."""

    __tablename__ = "authors"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


class Book(Base):
    """Something written."""

    __tablename__ = "books"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    author_id: Mapped[int] = mapped_column(ForeignKey("authors.id"))


def _database() -> str:
    return "sqlite:///" + os.environ.get("DEMO_DATABASE", ":memory:")


engine = create_engine(_database())
client = genai.Client(
    api_key="demo", http_options=types.HttpOptions(base_url=os.environ.get("GEMINI_BASE_URL", "http://127.0.0.1:1"))
)
app = FastAPI(title="Bookshop")

Base.metadata.create_all(engine)
with Session(engine) as session:
    if session.get(Author, 1) is None:
        session.add_all([Author(id=1, name="Ada"), Author(id=2, name="Grace")])
        session.add_all([Book(title=f"Volume {number}", author_id=1 + number % 2) for number in range(1, 21)])
        session.commit()


@app.get("/books/{book_id}")
def book(book_id: int) -> dict[str, str]:
    """One book and who wrote it."""
    with Session(engine) as session:
        found = session.get(Book, book_id)
        if found is None:
            raise HTTPException(404, "no such book")
        author = session.scalars(select(Author).where(Author.id == found.author_id)).one()
        return {"title": found.title, "author": author.name}


@app.post("/books/{book_id}/summary")
def summary(book_id: int) -> dict[str, str]:
    """What the model says about a book."""
    with Session(engine) as session:
        title = session.scalars(select(Book.title).where(Book.id == book_id)).one()
    reply = client.models.generate_content(model=MODEL, contents=f"Summarise the book {title!r} in one sentence.")
    return {"title": title, "summary": reply.text or ""}


@app.get("/books/{book_id}/story")
def story(book_id: int) -> StreamingResponse:
    """A story about a book, streamed as the model writes it."""

    def lines() -> Iterator[str]:
        prompt = f"Tell a story about volume {book_id}."
        for chunk in client.models.generate_content_stream(model=MODEL, contents=prompt):
            yield chunk.text or ""

    return StreamingResponse(lines(), media_type="text/plain")


@app.post("/books/{book_id}/translation")
def translation(book_id: int) -> dict[str, str]:
    """What a model says whose quota is used up."""
    try:
        reply = client.models.generate_content(model=LIMITED, contents=f"Translate volume {book_id}.")
    except errors.APIError as error:
        raise HTTPException(503, "try again later") from error
    return {"translation": reply.text or ""}


@app.get("/reviews/{book_id}")
def reviews(book_id: int) -> dict[str, str]:
    """A route with a bug."""
    ratings: list[int] = []
    return {"average": str(sum(ratings) / len(ratings))}
