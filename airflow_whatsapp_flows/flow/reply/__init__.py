"""Converts replies to the results that later steps see."""
