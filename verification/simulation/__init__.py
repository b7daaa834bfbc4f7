"""The whole system in virtual time, with everything going wrong that can.

The services, the domain, the memory adapters and the agent's claim, beat and orders are the real ones. Modelled are
EC2's delays, the network, people, and a trainer that only says that it moves. A history is drawn from a seed.
"""
