"""Documents that a clinician or a reviewer reads, set by Typst."""
