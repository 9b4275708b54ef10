"""What is known of an artifact's kernels, as one HTML file that needs nothing else."""
