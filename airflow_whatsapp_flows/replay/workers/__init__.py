"""Several processes of one command that share a replay: the supervisor, its workers, and what they tell each other."""
