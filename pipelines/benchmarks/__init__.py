"""Reference implementations and timing for the benchmarks."""
