"""Clients of the outside world: what core asks for, done over the network."""
