"""Statistics: classification metrics, intervals, comparisons."""
