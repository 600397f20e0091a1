"""Loading programmes, money and families from files: strict, all or nothing, and told before it is applied."""
