"""Boxes and detections in the file formats of other programs."""
