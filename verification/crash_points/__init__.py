"""Every AWS call of every service, failing in every way."""
