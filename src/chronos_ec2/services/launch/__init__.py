"""Starting runs: `config` and `prepare` make a LaunchSpec of what the user asked for, `launcher` starts the instance.

Whoever only starts instances, such as the launcher function, needs neither pydantic nor YAML, so this file imports
`launcher` alone.
"""

from chronos_ec2.services.launch.launcher import Launcher, launch
from chronos_ec2.services.launch.spec import Launched, LaunchSpec, WaitsForCapacity

__all__ = ["LaunchSpec", "Launched", "Launcher", "WaitsForCapacity", "launch"]
