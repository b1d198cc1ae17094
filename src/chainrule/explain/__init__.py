"""What a network's answers depend on, and whether the explanation itself can be trusted."""
