"""Outside issuers: services that create the credit for us, over HTTP."""
