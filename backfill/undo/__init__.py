"""Taking a run back, as far as others allow: what was sent to whom, and what is to be asked of whom. Sends nothing."""
