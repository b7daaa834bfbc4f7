"""The life of a model in virtual time: schedules whose triggers come double, late and in any order, promotions, groups.

The system, its noise and its agents are those of verification.simulation. What is new here is drawn by plan, done by
history and group_history, and judged by oracle and group_oracle; runs has what both have in common. document writes
build/lifecycle.json, also from what other parts have found.
"""
