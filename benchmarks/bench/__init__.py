"""What `benchmarks/run.py` is made of: data with a known truth, tools, measuring, bounds."""
