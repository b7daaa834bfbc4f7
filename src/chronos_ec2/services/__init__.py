"""The use cases: read, decide, execute, report. They know the ports and the domain, and nothing about AWS."""
