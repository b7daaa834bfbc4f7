"""The use cases: gather, decide, apply, report. They know the ports and the domain, nothing of AWS."""
