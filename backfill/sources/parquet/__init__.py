"""Parquet: read where it lies when nothing is to be computed (in_place), else streamed like any format (reader)."""
