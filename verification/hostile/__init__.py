"""Histories in which an instance is hostile: at any moment it does whatever its role allows.

`rights` says what that is, `writing` what it writes, `history` when, and `oracle` what must hold all the same: its own
end, its cost, and everything that was promised to others.
"""
