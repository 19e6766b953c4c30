"""From the text of a flow file to a flow, or to every fault in it."""
