"""The reference request: one route with three SQLAlchemy selects on in-memory SQLite. `fastapi_app` and `flask_app`."""

from typing import Any

from sqlalchemy import create_engine, text
from sqlalchemy.pool import StaticPool

engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})


def three_selects() -> list[int]:
    with engine.connect() as connection:
        return [connection.execute(text("select :n"), {"n": number}).scalar_one() for number in range(3)]


def make_fastapi() -> Any:
    from fastapi import FastAPI

    app = FastAPI()

    @app.get("/items/{item_id}")
    async def item(item_id: int) -> dict[str, list[int]]:
        return {"values": three_selects()}

    return app


def make_flask() -> Any:
    from flask import Flask, jsonify

    app = Flask(__name__)

    @app.get("/items/<int:item_id>")
    def item(item_id: int) -> Any:
        return jsonify(values=three_selects())

    return app


def __getattr__(name: str) -> Any:
    if name == "fastapi_app":
        return make_fastapi()
    if name == "flask_app":
        return make_flask()
    raise AttributeError(name)
