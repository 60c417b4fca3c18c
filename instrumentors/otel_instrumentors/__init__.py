"""Instrumentors: patches for libraries that make them emit OpenTelemetry.

Runs in the app's process. Needs only `opentelemetry-api` and `wrapt`, knows nothing of the agent, and imports no
library that it patches: an adapter is handed the module after the app imported it.
"""
