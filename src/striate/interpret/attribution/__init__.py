"""What of an input an output hangs on, by what flows back through the network."""
