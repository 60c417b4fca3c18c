import os
from collections.abc import Generator
from typing import Any

import pytest

from otel_instrumentors import guard

# Our own errors are raised, here and in every process the tests start.
os.environ["OTEL_AGENT_STRICT"] = "1"
guard.strict = True


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, None]:
    """In CI a skip of a test that needs a component is a failure: a component that is missing proves nothing."""
    outcome = yield
    report = outcome.get_result()
    if report.skipped and os.environ.get("CI") == "true" and item.get_closest_marker("component"):
        report.outcome = "failed"
        report.longrepr = f"skipped in CI although its component is required: {report.longrepr}"
