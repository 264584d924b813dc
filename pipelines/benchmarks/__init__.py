"""The benchmarks, their reference implementations and their timing."""
