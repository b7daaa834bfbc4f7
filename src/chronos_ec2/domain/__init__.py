"""The rules of chronos-ec2: frozen values and pure functions, standard library only, the time passed in."""
