"""The job's SQL in DuckDB: what is allowed, what is wrong with it, and the columns that it makes of a source's.

Nothing here knows of formats.
"""
