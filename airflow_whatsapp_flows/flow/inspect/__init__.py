"""Flows looked at, not run: graphs, differences and tests."""
