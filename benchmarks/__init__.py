"""Speed against other libraries and tools. Publishes to docs/benchmarks.md and build/bench.json."""
