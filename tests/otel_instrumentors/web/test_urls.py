"""What of a URL is recorded."""

from __future__ import annotations

import pytest

from otel_instrumentors.web import urls


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://example.com/a/b", ("http://example.com/a/b", "example.com", 80)),
        ("https://example.com", ("https://example.com", "example.com", 443)),
        ("http://Example.COM:8080/", ("http://Example.COM:8080/", "example.com", 8080)),
        ("http://[::1]:8080/x", ("http://[::1]:8080/x", "::1", 8080)),
        ("http://[::1]/x", ("http://[::1]/x", "::1", 80)),
        ("wss://example.com/live", ("wss://example.com/live", "example.com", 443)),
        ("http+unix://%2Frun%2Fx.sock/v1", ("http+unix://%2Frun%2Fx.sock/v1", "%2frun%2fx.sock", None)),
        ("http://example.com?q=/a:1", ("http://example.com?q=/a:1", "example.com", 80)),
        ("http://example.com/@user/a@b", ("http://example.com/@user/a@b", "example.com", 80)),
        ("http://u:p%40ss@example.com:81/x", ("http://REDACTED:REDACTED@example.com:81/x", "example.com", 81)),
        ("http://u:p@ss@example.com/x", ("http://REDACTED:REDACTED@example.com/x", "example.com", 80)),
        ("http://token@example.com", ("http://REDACTED@example.com", "example.com", 80)),
        ("http://u:p@example.com?a=1", ("http://REDACTED:REDACTED@example.com?a=1", "example.com", 80)),
        ("http://example.com/a#access_token=x", ("http://example.com/a", "example.com", 80)),
        ("http://example.com/a?b=1#c?d", ("http://example.com/a?b=1", "example.com", 80)),
        ("http://example.com/a?", ("http://example.com/a?", "example.com", 80)),
        ("http://example.com:port/", ("http://example.com:port/", "example.com", 80)),
        ("/relative", ("/relative", "", None)),
        ("/relative?u=http://x/&key=1", ("/relative?u=http://x/&key=REDACTED", "", None)),
        ("//u:p@host/x", ("//REDACTED:REDACTED@host/x", "host", None)),
        ("u:p@host/x", ("REDACTED:REDACTED@host/x", "host", None)),
        ("", ("", "", None)),
    ],
)
def test_target(url: str, expected: tuple[str, str, int | None]) -> None:
    """Userinfo and fragment are gone, address and port are those of the server, the rest is as it was."""
    assert urls.target(url) == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ""),
        ("page=2&sort=name&page=3", "page=2&sort=name&page=3"),
        ("a&b=&key=", "a&b=&key="),
        ("key=AIzaX&q=1", "key=REDACTED&q=1"),
        ("q=1&API_KEY=x=y&z", "q=1&API_KEY=REDACTED&z"),
        ("access%5Ftoken=x", "access%5Ftoken=REDACTED"),
        ("x-client-Secret-key=1&max_tokens=5", "x-client-Secret-key=REDACTED&max_tokens=5"),
        (
            "X-Amz-Date=2026&X-Amz-Signature=ab&X-Amz-Credential=c",
            "X-Amz-Date=2026&X-Amz-Signature=REDACTED&X-Amz-Credential=REDACTED",
        ),
        ("auth[]=1&token[]=2", "auth[]=REDACTED&token[]=REDACTED"),
        ("t=eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.sig", "t=REDACTED"),
        ("back=https%3A%2F%2Fu%3Ap%40host%2F", "back=REDACTED"),
        ("v=ghp_abcdefghijklmnopqrst", "v=REDACTED"),
        ("v=q7RtY2mKx9LpZ4vBn8WcD3sFg6HjT1aE", "v=REDACTED"),
        ("v=q7RtY2mKx9LpZ4vBn8WcD3sFg6Hj%2B%3D1aE", "v=REDACTED"),
        ("q7RtY2mKx9LpZ4vBn8WcD3sFg6HjT1aE", "REDACTED"),
        ("id=123e4567-e89b-12d3-a456-426614174000", "id=123e4567-e89b-12d3-a456-426614174000"),
        ("v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAaaaa1", "v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAaaaa1"),
        ("sha=da39a3ee5e6b4b0d3255bfef95601890afd80709", "sha=da39a3ee5e6b4b0d3255bfef95601890afd80709"),
    ],
)
def test_redact_query(query: str, expected: str) -> None:
    """Values of secrets are replaced, whatever the spelling of their name; names, order and harmless values stay."""
    assert urls.redact_query(query) == expected


def test_long_urls_are_cut() -> None:
    """A URL is cut before it is read, and a secret at the cut does not escape."""
    full = urls.target("http://host/?q=" + "a" * urls.MAX_LENGTH)[0]
    assert len(full) == urls.MAX_LENGTH
    assert urls.target("http://host/?token=" + "a" * urls.MAX_LENGTH)[0] == "http://host/?token=REDACTED"


def test_exclusions(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first library with a list of its own wins over the common list; an empty list excludes nothing."""
    assert urls.exclusions("httpx2", "httpx") is None
    monkeypatch.setenv("OTEL_PYTHON_EXCLUDED_URLS", "common")
    found = urls.exclusions("httpx2", "httpx")
    assert found is not None
    assert found.pattern == "common"
    monkeypatch.setenv("OTEL_PYTHON_HTTPX_EXCLUDED_URLS", " a/.*/b ,, c$")
    found = urls.exclusions("httpx2", "httpx")
    assert found is not None
    assert found.pattern == "a/.*/b|c$"
    monkeypatch.setenv("OTEL_PYTHON_HTTPX2_EXCLUDED_URLS", "")
    assert urls.exclusions("httpx2", "httpx") is None
    found = urls.exclusions("aiohttp-client")
    assert found is not None
    assert found.pattern == "common"
