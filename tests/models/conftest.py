"""Fixtures for tests of tasks: those of data as well."""

from tests.samples import assert_boxes_on_colors, build, numbered, options, painted, write_data

__all__ = ["assert_boxes_on_colors", "build", "numbered", "options", "painted", "write_data"]
