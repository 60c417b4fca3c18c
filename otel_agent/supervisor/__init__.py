"""The supervisor: the `otel-agent` process itself. Stdlib only, one thread; starts hub and app and is transparent."""
