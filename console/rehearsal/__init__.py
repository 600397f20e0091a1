"""`despensa rehearse`: the likeliest troubles, produced on a small installation of their own, to practise on."""
