"""Clinics that train a network together, each behind a door of its own."""
