"""What attacks by search share: the client replayed on candidates, distances between messages, beliefs about images."""
