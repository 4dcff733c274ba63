"""From options to files: runs, comparisons, batches."""
