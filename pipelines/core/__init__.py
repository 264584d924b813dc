"""Code that all commands share: command line, task, training recipe, runs on disk and the detector."""
