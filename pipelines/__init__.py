"""Use cases: one file a verb, each from a recipe to a result on disk."""
