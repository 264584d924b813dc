"""Models that can be trained, blended and used by predict, one per file."""
