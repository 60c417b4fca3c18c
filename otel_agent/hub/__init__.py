"""The hub: one process per supervised app; takes the workers' records in, aggregates, exports and serves.

Runs in an isolated interpreter of its own, never in the app. May import the ground floor (`wire`, `settings`),
`otel_instrumentors.semconv` and the OpenTelemetry SDK; never the supervisor, the worker or an instrumentor.
"""
