"""CUDA ahead of time: TVM's CUDA C++ becomes machine code for many chips while compiling.

`build_hook.ahead_of_time` encloses the build, `packing.CudaPacker` the export of a library;
docs/cuda.md says how the pieces fit.
"""
