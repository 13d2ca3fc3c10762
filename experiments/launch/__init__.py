"""Starting one program as several processes: on this machine, under Slurm, on the workers of a TPU slice."""
