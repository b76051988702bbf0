"""Historical customer data into Twilio Segment: every row accounted for, nothing sent twice, any run resumable."""

__version__ = "0.1.0"
