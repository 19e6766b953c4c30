"""Batches: sources of contact responses, and the walking of many contacts, recorded in the ledger."""
