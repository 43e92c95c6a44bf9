"""What attacks that learn from simulated clients share."""
