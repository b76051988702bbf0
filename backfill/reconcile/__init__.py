"""What a destination holds, compared with what a run has delivered there, id by id."""
