"""Rules for sending a request, and for sending it again."""
