"""LLM clients. Runs in the app's process; imports only `opentelemetry` and `wrapt`."""
