"""Fixtures for tests of the loops."""

from tests.training import data, network, settings, train

__all__ = ["data", "network", "settings", "train"]
