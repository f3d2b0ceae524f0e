"""Everything about normdrop that needs a GPU: ``make gpu-check``, or ``python -m gpu_check``.

A run consists of sections, each in a process of its own, so that an error which spoils the CUDA
context ends one section and not the run. `plan` lists them; `__main__` runs them and writes one
results file. Without a GPU everything but the device is gone through: a dry run.
"""
