"""Targets: a compiler and maybe a device. Every compilation and run happens in a child process."""
