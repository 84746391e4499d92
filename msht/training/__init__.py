"""Training: the recipe and what carries it out."""
