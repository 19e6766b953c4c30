"""A small CRM to look into: what a flow's Action steps talk to in the demo and in the tests."""
