"""Where every figure of the README comes from: each script runs with one command and writes benchmarks/results/."""
