"""The schema's history. Small, numbered, *pre* or *post* deploy, with the reason on top."""
