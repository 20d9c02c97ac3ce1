"""What a transformer computes again and again, where torch takes longer: in C on a CPU.

`kernels.c` and what it includes are compiled when they are first needed, by the machine's own
compiler for its own processor (compiled.py), and called on tensors: what stands between products
(calls.py), and, where a processor multiplies bfloat16, products (products.py) and attention
(attention.py) themselves. Without a compiler everything runs as well, on torch's operations. On a
GPU some of it is Liger's (liger.py); elementwise.py knows which of both computes on a tensor.
"""
