"""How stores are told: signed webhooks."""
