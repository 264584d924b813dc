"""Frames of recordings, their storage on disk, and the grid of windows with its labels."""
