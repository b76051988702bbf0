"""Destinations that can be asked what they hold: `holders` has the interface, each API its module."""
