"""Review: windows to verify, clips and a page for the reviewer, verdicts, and what they tell."""
