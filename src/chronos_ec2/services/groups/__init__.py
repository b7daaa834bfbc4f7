"""Start the members of groups, each once, within one budget, and put together what they have made.

The order of the steps is the protocol, verification/model/groups.pml: a member is entered into the ledger on condition,
its request written once, its lane taken on condition. Whoever goes on with the group after a crash starts what is
entered and holds no lane. The watchdog keeps the lane of a member until the group has gone on after it.
"""
