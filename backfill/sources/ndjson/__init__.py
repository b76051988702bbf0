"""NDJSON: one JSON object a line, or what other tools call that: arrays, concatenated and pretty-printed objects.

lines (a file's records as text) -> records (those that are valid) -> members (keys and values as columns) -> reader.
"""
