"""A Flask app with SQLAlchemy; run by gunicorn as flask_app:app."""

from flask import Flask, Response, abort, jsonify, request
from sqlalchemy import create_engine, text

app = Flask(__name__)
engine = create_engine("sqlite://")


@app.get("/items/<int:item_id>")
def item(item_id: int) -> Response:
    with engine.connect() as connection:
        doubled = connection.execute(text("select :n * 2"), {"n": item_id}).scalar_one()
    return jsonify(id=item_id, doubled=doubled)


@app.post("/echo")
def echo() -> Response:
    return Response(request.get_data(), mimetype="application/octet-stream")


@app.get("/stream")
def stream() -> Response:
    return Response((f"line {number}\n" for number in range(5)), mimetype="text/plain")


@app.get("/teapot")
def teapot() -> Response:
    abort(418)


@app.get("/boom")
def boom() -> Response:
    raise RuntimeError("boom")
