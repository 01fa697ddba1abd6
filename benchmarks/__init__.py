"""Benchmarks of handjax (`bench.py`) and of what training costs (`cost.py`)."""
