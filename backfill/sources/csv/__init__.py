"""CSV and TSV, read exactly by the grammar in docs/sources.md.

text (bytes to UTF-8) -> scan (where records are; structure is its arithmetic) -> records (columns, faults) -> reader.
"""
