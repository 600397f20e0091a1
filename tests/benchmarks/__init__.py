"""How fast it is, against what the database can do; `./despensa bench`. Nothing here is timed in the suite."""
