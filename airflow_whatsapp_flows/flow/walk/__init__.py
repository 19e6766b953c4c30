"""One contact through a flow: the only meaning of a flow."""
