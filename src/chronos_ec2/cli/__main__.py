"""`python -m chronos_ec2.cli`, where the command is not on the PATH."""

from chronos_ec2.cli import main

main()
