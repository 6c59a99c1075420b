"""From a finished search to numbers, pictures and ensembles."""
