"""A process of its own that compiles shaders with RADV's null device.

It is started as the top-level package `radv_child`, so that neither TVM nor the LLVM inside it is
loaded beside Mesa's LLVM; it imports nothing but the standard library.
"""
