"""What AMD's shader compiler makes of an artifact's Vulkan kernels, without AMD hardware.

Mesa's RADV can be told to compile for a GPU that is not there (its null device). `radv` feeds it
the kernels that `container` finds in a library, `assembly` reads the loop that decides the speed
out of the machine code, and `budgets` compares with what a kernel may cost.
"""
