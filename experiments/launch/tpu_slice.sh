#!/usr/bin/env bash
# One command on all workers of a Cloud TPU slice, which form one mesh.
#
#   TPU=my-v5e-16 ZONE=us-west4-a FOLDER=/mnt/shared/dalib experiments/launch/tpu_slice.sh \
#       experiments.office_home --encoder resnet50 --batch-size 1024 --out /mnt/shared/runs/office_home
#
# Before: `gcloud auth login`; on every worker the repository in FOLDER with its environment in FOLDER/.venv (extra
# `tpu`). FOLDER may be each worker's own, but --out and the data must be on a disk that all workers mount, and
# --batch-size, the whole batch, a multiple of the number of chips. `python -m dalib.run.preflight --topology …` says
# beforehand whether it fits.
#
# The workers find each other without arguments (DALIB_DISTRIBUTED=tpu). Resumable: give the same command again, on this
# slice or another; TRIES=n does so up to n times by itself.
set -eu

: "${TPU:?name of the TPU}" "${ZONE:?its zone}" "${FOLDER:?folder of the repository on the workers}"
module=${1:?which benchmark, for example experiments.office_home}
shift
command="cd $(printf %q "$FOLDER") && DALIB_DISTRIBUTED=tpu .venv/bin/python -m $module$(printf ' %q' "$@")"

code=1
for ((try = 1; try <= ${TRIES:-1}; try++)); do
    code=0
    gcloud compute tpus tpu-vm ssh "$TPU" --zone="$ZONE" --worker=all --command="$command" || code=$?
    # 2 is a mistake in the options: another try would say the same.
    if [ "$code" = 0 ] || [ "$code" = 2 ]; then
        break
    fi
    echo "try $try ended with status $code" >&2
    sleep 30
done
exit "$code"
