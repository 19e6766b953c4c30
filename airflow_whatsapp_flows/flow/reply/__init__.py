"""From a reply to what later steps see of it."""
