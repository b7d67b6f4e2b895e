"""Fixtures for tests of data."""

import pytest

from tests.samples import assert_boxes_on_colors, build, numbered, options, painted, write_data
from ultralytics.data.cache import loading

__all__ = ["assert_boxes_on_colors", "build", "numbered", "options", "painted", "write_data"]


@pytest.fixture
def nothing_kept(monkeypatch) -> None:
    """Every dataset is too large to be kept once it is decoded."""
    monkeypatch.setattr(loading, "KEPT_BYTES", 0)
