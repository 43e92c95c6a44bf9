"""Filters of federated-learning engines, their own code called on what a client is about to send."""
