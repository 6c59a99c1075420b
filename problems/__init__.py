"""The tasks of moprune as pymoo Problems, each with its baselines: pruning (more to come)."""
