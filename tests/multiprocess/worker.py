"""One of several processes: ``python -m tests.multiprocess.worker FILE METHOD…`` writes trajectories of methods."""

import sys

import numpy as np

from dalib.train import make_mesh
from dalib.train.devices.processes import initialize, leads, process_count


def main(file, *names):
    initialize()
    # Not before: it tries out compiler options.
    from tests.multiprocess.trajectory import trajectory

    mesh = make_mesh()
    found = {f"{name}/{key}": x for name in names for key, x in trajectory(name, mesh).items()}
    if leads():
        np.savez(file, processes=process_count(), devices=mesh.size, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
