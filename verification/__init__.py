"""How the promises are proven: `make evidence` runs all of it and writes build/evidence.json and docs/evidence.md."""
