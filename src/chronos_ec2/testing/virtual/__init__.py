"""EC2 and agents in virtual time: delays, droughts, the bill; what an agent does, and what may happen to it."""
