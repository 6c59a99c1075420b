"""What a person runs: the command line, experiment files, the runner and the bundled experiments."""
