"""Batches: reads contact responses from sources and walks many contacts, recorded in the ledger."""
