"""The calls of a job made a second time, by the documented recipe and nothing of what prepares.

docs/job-file.md and docs/message-ids.md are implemented here column by column in plain Python lists: no expression,
no code and no library call of `mapping`, `encode`, `prepare`, `pack` and `identity` is used (import-linter sees to
that), so that a mistake there is found here. Tables are shared: the job's models, the rules, limits, placeholders.
"""
