"""SQLite: a query in the database's own SQL.

session (a guarded connection to an unchanging file) -> query (types of its result) -> reader (its rows through ADBC).
"""
