"""The benchmark: backfill and its peers, side by side in one run on loopback (`python -m bench`)."""
