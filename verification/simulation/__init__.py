"""The whole system in virtual time, with everything going wrong that can.

Services, domain, memory adapters and the agent's claim, heartbeat and control are the real ones. EC2's delays, the
network, people and a trainer that only reports progress are models. A history is drawn from a seed.
"""
