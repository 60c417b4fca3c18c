"""Lines about the agent itself: one sentence each, on stderr, never through `logging`, at most a few per run."""

from __future__ import annotations

import os

LIMIT = 20
_said: set[str] = set()


def say(text: str) -> None:
    """Print `text` on stderr once per run; after 20 different lines nothing more. A closed stderr is no error."""
    line = "".join(character if character.isprintable() else " " for character in text)[:1000]
    if line in _said or len(_said) >= LIMIT:
        return
    _said.add(line)
    try:
        os.write(2, f"otel-agent: {line}\n".encode("utf-8", "replace"))
    except OSError:
        pass
