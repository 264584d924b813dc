"""Columns and sequences that describe the windows of a recording."""
