"""Recordings on disk, decoding, the data layout, tables, annotations and the embedded data set."""
