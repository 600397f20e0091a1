"""What donors and auditors are told: counts and sums of months, stores, donors, cases and approvals. Reads only."""
