"""Studies: the result tables of the documentation, each made by one command that can be run again."""
