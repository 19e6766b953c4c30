"""When a request may be sent, and sent again."""
