"""One module per command, named after it; `cli.app` imports a module when its command runs."""
