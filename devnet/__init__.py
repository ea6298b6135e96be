"""The stage set: real protocols on a local Anvil chain, for the demo, the tests, the benchmarks."""
