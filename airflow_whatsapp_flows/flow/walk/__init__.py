"""Walks one contact through a flow: the only definition of what a flow means."""
