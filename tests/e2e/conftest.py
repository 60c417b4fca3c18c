from collections.abc import Iterator

import pytest

from support.otlp_receiver import OtlpReceiver


@pytest.fixture
def receiver() -> Iterator[OtlpReceiver]:
    """An independent OTLP receiver on loopback."""
    with OtlpReceiver() as running:
        yield running
