"""Model repositories of the Hugging Face hub, through its own library."""

from collections.abc import Sequence
from pathlib import Path

from dalib.core.checks import input_error
from dalib.encoders.checkpoints.array_files import NAMES

PREFIX = "hf://"


def fetch_repository(address: str, companions: Sequence[str] = ()) -> Path:
    """Fetch the weights of ``hf://org/name`` (``@revision`` may follow) into the hub's own cache.

    ``companions`` are other files of it that belong to the model; those that it lacks are left out.

    Returns:
        The folder of the snapshot; :func:`dalib.encoders.pretrained.read_arrays` reads it.

    Raises:
        InputError: without the library, the network or the repository.
    """
    repository, _, revision = address.removeprefix(PREFIX).partition("@")
    if repository.count("/") != 1:
        raise input_error("weights", got=address, expected="hf://organisation/name, with @revision if wanted")
    try:
        import huggingface_hub
    except ImportError:
        raise input_error(
            "weights",
            got=f"{PREFIX}{repository} without the package huggingface_hub",
            expected="the package that fetches from the hub",
            todo="pip install 'dalib-jax[hub]', or fetch the files and name their folder",
        ) from None
    single, index = NAMES[0], NAMES[1]
    try:
        listed = set(huggingface_hub.list_repo_files(repository, revision=revision or None))
        # Whichever form comes first in the reader's order; nothing else of the repository is asked for.
        if single in listed:
            wanted = [single]
        elif index in listed:
            wanted = [index, "model-*.safetensors"]
        else:
            wanted = [name for name in NAMES[2:] if name in listed] + ["pytorch_model-*.bin"]
        folder = huggingface_hub.snapshot_download(
            repository, revision=revision or None, allow_patterns=[*wanted, *companions]
        )
    except Exception as error:  # the library's, requests' and httpx's errors have no common base
        raise input_error(
            "weights",
            got=f"{PREFIX}{repository}: {type(error).__name__}: {error}",
            expected="a repository that can be reached",
            todo="check the name and the network; offline, name a folder with the files that you fetched elsewhere",
        ) from None
    return Path(folder)
