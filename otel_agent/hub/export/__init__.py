"""OTLP export. Runs in the hub; imported only when a destination is configured.

A record goes `exports` -> `batch` (encoded once, in a thread) -> `queue` -> `sender` (one thread per destination and
signal) -> `http`, `grpc` or `console`. `answer` decides what a reply means; RELIABILITY section 7 is its table.
May import: the ground floor, the OpenTelemetry SDK and protocol messages, urllib3; grpc only in `grpc`.
"""
