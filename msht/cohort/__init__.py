"""Cohorts: the manifest, the split, the phantom, the data set."""
