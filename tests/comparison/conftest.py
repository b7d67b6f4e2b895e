"""Fixtures for tests of compare.py."""

from tests.training import data, network, settings, train

__all__ = ["data", "network", "settings", "train"]
