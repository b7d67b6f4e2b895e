"""Fixtures for tests of data."""

from tests.samples import assert_boxes_on_colors, build, numbered, options, painted, write_data

__all__ = ["assert_boxes_on_colors", "build", "numbered", "options", "painted", "write_data"]
