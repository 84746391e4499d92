"""Speed and coverage, measured; results lie under `results`."""
