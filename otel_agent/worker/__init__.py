"""The worker: what runs inside each process of the app.

Loaded by `inject/sitecustomize.py`. May import the ground floor (`wire`, `settings`), `otel_instrumentors` and the
OpenTelemetry API; never the SDK, an HTTP client, sqlite3, asyncio or anything else the app did not ask for.
"""
