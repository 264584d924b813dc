"""Frames of a recording, their store on disk, and the window grid with its labels."""
