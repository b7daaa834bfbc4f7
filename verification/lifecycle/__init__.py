"""The life of a model in virtual time: schedules whose triggers come double, late and in any order, promotions, groups.

The system, its noise and its agents are those of verification.simulation. What is new here is drawn, done and judged by
plan, history and oracle, of groups by group_history and group_oracle; document writes build/lifecycle.json, also from
what other parts have found.
"""
