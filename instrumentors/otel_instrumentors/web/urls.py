"""URLs fit to be recorded: credentials out, everything that helps to find a fault stays.

The rules are those of the project's redaction of URLs: userinfo and fragment never leave the process, and of a query
the values of parameters that carry secrets are replaced; names and order stay.
"""

from __future__ import annotations

import functools
import math
import os
import re
from urllib.parse import unquote_plus

REDACTED = "REDACTED"
MAX_LENGTH = 8192  # characters of a URL that are read; the rest is cut off before anything else


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


# Parameters whose value is a secret, or half of one (OAuth's state, a presigned URL's policy). Lower case.
_NAMES = frozenset(
    _words("""
    access_token api_key apikey api-key app_key appkey appid assertion auth auth_token authorization authtoken
    awsaccesskeyid client_assertion client_secret code code_challenge code_verifier credential credentials csrf
    csrf_token csrfmiddlewaretoken googleaccessid hapikey hash hmac id_token id_token_hint invite jwt key key-pair-id
    login_token magic nonce oauth_signature oauth_token oauth_verifier otp pass passwd password policy private_key pwd
    refresh_token relaystate reset_token samlrequest samlresponse secret security_token session session_id sessionid
    session_state sid sig sign signature state subscription-key ticket token user_token x-amz-credential
    x-amz-security-token x-amz-signature x-goog-credential x-goog-signature
    """)
)
# The same for names as people spell them: without `_`, `-`, `.` and spaces, equal to or ending with these.
_WORDS = frozenset(
    _words("""
    pass pw pin otp totp cvv cvc cvv2 ssn auth sid sessionid jsessionid phpsessid csrf xsrf csrfmiddlewaretoken jwt sig
    signature cardnumber creditcard ccnumber iban
    """)
)
_ENDINGS = _words(
    """
    password passwd passphrase pwd secret secretkey apikey accesskey accesskeyid privatekey signingkey encryptionkey
    accountkey subscriptionkey token credential credentials authorization cookie cookies assertion dsn connectionstring
    databaseurl dburl redisurl brokerurl mongouri webhookurl
    """
)
_SPELLING = str.maketrans("", "", "_-. ")
_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}

# Values that are secrets whatever their parameter's name: a JSON web token, a URL with userinfo, known prefixes.
_VALUE = re.compile(
    r"(?<![\w-])eyJ[\w-]{8,}\.[\w-]{8,}|://[^/?#@\s]+@|[sr]k-[\w-]{16,}|[rsp]k_(?:live|test)_\w{10,}|AIza[\w-]{20,}"
    r"|ya29\.[\w-]{16,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{22,}|glpat-[\w-]{16,}"
    r"|(?:AKIA|ASIA)[A-Z0-9]{12,16}\b|xox[abeoprs]-[\w-]{10,}|whsec_\w{10,}",
    re.ASCII,
)
_OPAQUE = re.compile(r"[A-Za-z0-9+/_=-]{32,}")
_OPAQUE_BITS = 4.5  # of entropy per character


def target(url: str) -> tuple[str, str, int | None]:
    """What to record of an absolute URL: url.full, server.address, server.port (None if the scheme has no default)."""
    if len(url) > MAX_LENGTH:
        url = url[:MAX_LENGTH]
    begin = url.find("://") + 3
    end = url.find("/", begin)
    origin = url if end < 0 else url[:end]
    if begin < 3 or "#" in url or "@" in origin or "?" in origin:
        return _clean(url)
    address, port = _server(origin)
    question = url.find("?", end)
    if question < 0:
        return url, address, port
    return url[: question + 1] + redact_query(url[question + 1 :]), address, port


def _clean(url: str) -> tuple[str, str, int | None]:
    """The same for any text: the parts of the general syntax of RFC 3986, one after the other."""
    url, _, _ = url.partition("#")
    url, question, query = url.partition("?")
    begin = url.find("://") + 3
    if begin < 3:
        begin = 2 if url.startswith("//") else 0
    end = url.find("/", begin)
    end = len(url) if end < 0 else end
    userinfo, at, host = url[begin:end].rpartition("@")
    scheme, path = url[:begin], url[end:]
    address, port = _server(scheme + host if begin > 2 else host)
    if at:
        host = f"{REDACTED}:{REDACTED}@{host}" if ":" in userinfo else f"{REDACTED}@{host}"
    return f"{scheme}{host}{path}{question}{redact_query(query)}", address, port


@functools.lru_cache(maxsize=512)
def _server(origin: str) -> tuple[str, int | None]:
    """(server.address, server.port) of `scheme://host:port`."""
    scheme, _, host = origin.rpartition("://")
    name, colon, port = host.rpartition(":")
    if not colon or port.endswith("]"):
        name, port = host, ""
    number = int(port) if port.isdecimal() and len(port) < 6 else _PORTS.get(scheme.lower())
    return name.strip("[]").lower(), number


def redact_query(query: str) -> str:
    """`query` (without its `?`) with the values of secrets replaced by REDACTED; names and order stay."""
    if not query:
        return query
    pairs = query.split("&")
    for index, pair in enumerate(pairs):
        name, equals, value = pair.partition("=")
        if value and (_is_secret(name) or (len(value) > 14 and _looks_secret(value))):
            pairs[index] = f"{name}{equals}{REDACTED}"
        elif not equals and len(name) > 14 and _looks_secret(name):
            pairs[index] = REDACTED  # a query that is nothing but a token
    return "&".join(pairs)


@functools.lru_cache(maxsize=1024)
def _is_secret(name: str) -> bool:
    """Whether a parameter of this name (as it stands in the URL) carries a secret."""
    name = unquote_plus(name).lower().removesuffix("[]")
    spelled = name.translate(_SPELLING)
    return name in _NAMES or spelled in _WORDS or spelled.endswith(_ENDINGS)


def _looks_secret(value: str) -> bool:
    if "%" in value:
        value = unquote_plus(value)
    if _VALUE.search(value):
        return True
    return bool(_OPAQUE.fullmatch(value)) and _is_random(value)


def _is_random(value: str) -> bool:
    """Whether lower case, upper case and digits are mixed with the entropy of a generated token."""
    if value.islower() or value.isupper() or not any(map(str.isdigit, value)):
        return False
    size = len(value)
    bits = -sum(count / size * math.log2(count / size) for count in map(value.count, set(value)))
    return bits >= _OPAQUE_BITS


def exclusions(*libraries: str) -> re.Pattern[str] | None:
    """URLs without telemetry: the regular expressions (comma separated) of OTEL_PYTHON_<library>_EXCLUDED_URLS, of the
    first library that has them, otherwise of OTEL_PYTHON_EXCLUDED_URLS. None when there are none."""
    names = [f"OTEL_PYTHON_{library.upper().replace('-', '_')}_EXCLUDED_URLS" for library in libraries]
    found = [os.environ[name] for name in (*names, "OTEL_PYTHON_EXCLUDED_URLS") if name in os.environ]
    patterns = [pattern.strip() for pattern in found[0].split(",") if pattern.strip()] if found else []
    return re.compile("|".join(patterns)) if patterns else None
