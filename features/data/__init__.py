"""Data sets on disk: audio decoding, tables, annotations and the embedded data set."""
