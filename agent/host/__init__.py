"""What the kernel and the NVIDIA driver know about this machine."""
