"""Boxes in the files of annotation software: reading, matching to recordings, and adding to a data set."""
