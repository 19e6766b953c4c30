"""From an action and one contact's values to a request."""
