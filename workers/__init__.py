"""Doing it: thin actors, and what they call: credit, notify, the issuers and the stores."""
