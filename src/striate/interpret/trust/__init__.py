"""Which map to trust: checks of what a method says."""
