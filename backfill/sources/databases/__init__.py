"""Live databases: a query's rows as a server gives them, once, in one state of the database.

address (which database, its secrets kept apart) -> session (what a database's own module gives) -> live (the format and
reader that all of them share). To add one: a module here with a subclass of LiveDatabase, and its line in
backfill.job.formats.
"""
