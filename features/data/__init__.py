"""Data sets on disk: audio decoding, tables and the embedded data set."""
