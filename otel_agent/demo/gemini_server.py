"""A fake Gemini API on loopback, for the demo and the tests: the real SDK talks to it over HTTP.

    with GeminiServer() as server:
        client = genai.Client(api_key="x", http_options={"base_url": server.base_url})

Token counts are derived from the prompt, so that they can be predicted. A model name that contains "overloaded",
"missing" or "limited" is answered with 503, 404 or 429; "broken" ends a stream with an error after its first chunk;
"silent" reports no usage; "thinking" spends thoughts (as "gemini-2.5" does); "blocked" refuses the prompt.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

ERRORS = {
    "overloaded": (503, "UNAVAILABLE", "The model is overloaded. Please try again later."),
    "missing": (404, "NOT_FOUND", "The model is not found for API version v1beta."),
    "limited": (429, "RESOURCE_EXHAUSTED", "You exceeded your current quota."),
}
WORDS = ("Once", "upon", "a", "time", "there", "was", "a", "book", "that", "nobody", "had", "read")


class GeminiServer:
    """Context manager; `base_url` is the API's address, `requests` what came in as (path, headers, body)."""

    def __init__(self, port: int = 0, first_chunk: float = 0.02, between_chunks: float = 0.005) -> None:
        self.requests: list[tuple[str, dict[str, str], Any]] = []
        self.first_chunk = first_chunk
        self.between_chunks = between_chunks
        handler = type("Handler", (_Handler,), {"owner": self})
        self._server = _Server(("127.0.0.1", port), handler)
        self._server.daemon_threads = True
        self.base_url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> GeminiServer:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def usage(model: str, body: dict[str, Any], words: int) -> dict[str, Any]:
    """The usageMetadata block of a reply with `words` words: one token a word; a prompt token for four characters."""
    prompt = max(len(json.dumps(body.get("contents", ""))) // 4, 1)
    thoughts = 2 * words if "2.5" in model or "thinking" in model else 0
    cached = prompt // 2 if body.get("cachedContent") else 0
    block: dict[str, Any] = {
        "promptTokenCount": prompt,
        "candidatesTokenCount": words,
        "totalTokenCount": prompt + words + thoughts,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": prompt}],
    }
    if thoughts:
        block["thoughtsTokenCount"] = thoughts
    if cached:
        block["cachedContentTokenCount"] = cached
    return block


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no news."""


class _Handler(BaseHTTPRequestHandler):
    owner: GeminiServer
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on stderr."""

    def do_POST(self) -> None:
        """generateContent, streamGenerateContent, embedContent, batchEmbedContents, countTokens."""
        body = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))) or b"{}")
        path = urlsplit(self.path).path
        self.owner.requests.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
        model, _, action = path.rpartition("/")[2].partition(":")
        for word, (status, name, message) in ERRORS.items():
            if word in model:
                self._json(_error(status, name, message), status)
                return
        if action == "streamGenerateContent":
            self._stream(model, body)
        elif action == "generateContent":
            self._json(_reply(model, body))
        elif action in ("embedContent", "batchEmbedContents"):
            self._json(_embeddings(action, body))
        elif action == "countTokens":
            self._json({"totalTokens": usage(model, body, 0)["promptTokenCount"]})
        else:
            self._json(_error(404, "NOT_FOUND", f"no such method: {action}"), 404)

    def _json(self, body: Any, status: int = 200) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json; charset=UTF-8")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, model: str, body: dict[str, Any]) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        try:
            time.sleep(self.owner.first_chunk)
            for chunk in _chunks(model, body):
                data = f"data: {json.dumps(chunk)}\r\n\r\n".encode()
                self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
                self.wfile.flush()
                time.sleep(self.owner.between_chunks)
            self.wfile.write(b"0\r\n\r\n")
        except OSError:
            self.close_connection = True  # the client closed early


def _error(status: int, name: str, message: str) -> dict[str, Any]:
    error: dict[str, Any] = {"code": status, "message": message, "status": name}
    if status == 429:
        error["details"] = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "7s"}]
    return {"error": error}


def _wants_tool(body: dict[str, Any]) -> str | None:
    """The first declared function that has not been answered yet: the model "calls" it once."""
    answered = any("functionResponse" in part for one in body.get("contents", []) for part in one.get("parts", []))
    for tool in body.get("tools", []):
        for function in tool.get("functionDeclarations", []):
            return None if answered else str(function["name"])
    return None


def _reply(model: str, body: dict[str, Any]) -> dict[str, Any]:
    if "blocked" in model:
        return {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": usage("", body, 0), "modelVersion": model}
    tool = _wants_tool(body)
    part: dict[str, Any] = {"text": " ".join(WORDS)}
    if tool is not None:
        part = {"functionCall": {"name": tool, "args": {}}}
    return {
        "candidates": [{"content": {"role": "model", "parts": [part]}, "finishReason": "STOP", "index": 0}],
        "modelVersion": f"{model}-001",
        "responseId": "response-1",
        **({} if "silent" in model else {"usageMetadata": usage(model, body, len(WORDS))}),
    }


def _chunks(model: str, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for number, word in enumerate(WORDS, 1):
        candidate: dict[str, Any] = {"content": {"role": "model", "parts": [{"text": f"{word} "}]}, "index": 0}
        if number == len(WORDS):
            candidate["finishReason"] = "STOP"
        chunk: dict[str, Any] = {
            "candidates": [candidate],
            "modelVersion": f"{model}-001",
            "responseId": "response-1",
        }
        if "silent" not in model:
            chunk["usageMetadata"] = usage(model, body, number)
        yield chunk
        if "broken" in model:
            yield _error(500, "INTERNAL", "An internal error has occurred.")
            return


def _embeddings(action: str, body: dict[str, Any]) -> dict[str, Any]:
    if action == "embedContent":
        return {"embedding": {"values": [0.1, 0.2, 0.3]}}
    return {"embeddings": [{"values": [0.1, 0.2, 0.3]} for _ in body.get("requests", [])]}


def main() -> None:
    """`python -m otel_agent.demo.gemini_server [--port N]`: serve until Ctrl-C."""
    parser = argparse.ArgumentParser(description="A fake Gemini API on loopback.")
    parser.add_argument("--port", type=int, default=0)
    with GeminiServer(parser.parse_args().port) as server:
        print(server.base_url, flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    main()
