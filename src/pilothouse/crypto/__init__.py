"""Encryption at rest: the master key, subkeys for the house's own purposes, sealed values bound to their place."""
