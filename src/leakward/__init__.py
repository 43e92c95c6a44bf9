"""Leakward."""
