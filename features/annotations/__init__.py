"""Boxes and detections in the files of other programs: reading, writing, and adding them to a data set."""
