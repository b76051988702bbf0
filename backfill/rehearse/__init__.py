"""A job run against an endpoint that fails, by processes that are killed; then what arrived, compared with its plan."""
