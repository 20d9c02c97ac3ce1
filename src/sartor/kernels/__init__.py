"""What stands between a transformer's products, in C: one go over numbers, where torch takes ten.

`kernels.c` and `functions.h` are compiled when they are first needed, by the machine's own compiler
for its own processor (compiled.py), and called on tensors (calls.py). Without a compiler everything
runs as well, on torch's operations.
"""
