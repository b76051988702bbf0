"""Stores of objects: how one is reached, asked again while it is busy, and what its answers mean."""
