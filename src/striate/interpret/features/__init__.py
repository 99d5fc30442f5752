"""What the units of a network look for, and what its layers make of an input."""
