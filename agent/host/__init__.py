"""What the kernel and the NVIDIA driver report about this machine."""
