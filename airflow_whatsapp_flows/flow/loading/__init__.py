"""Loads a flow from the text of its file, or reports every fault in it."""
