"""Builds requests from actions and one contact's values."""
