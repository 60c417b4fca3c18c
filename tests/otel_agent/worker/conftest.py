from collections.abc import Iterator

import pytest

from support.recording_hub import RecordingHub


@pytest.fixture
def hub() -> Iterator[RecordingHub]:
    """A test hub that records what workers send."""
    with RecordingHub() as running:
        yield running
