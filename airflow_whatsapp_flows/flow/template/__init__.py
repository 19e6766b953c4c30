"""The restricted template language of flows: text with placeholders, rendered from one contact's values."""
