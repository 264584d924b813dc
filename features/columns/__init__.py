"""The columns and sequences that models read of a window."""
