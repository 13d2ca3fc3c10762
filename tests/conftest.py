"""Eight virtual CPU devices, strict rank promotion and a compilation cache for every test."""

import os
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Commands that tests call in their own process would make it keep all memory that any later test frees.
os.environ["DALIB_KEEP_MEMORY"] = "0"

import jax
import pytest

CACHE = Path(os.environ.get("JAX_COMPILATION_CACHE_DIR", Path(__file__).parent.parent / ".cache" / "jax"))

if jax.__version_info__ < (0, 11):
    # A quarter less time to compile, for code that hardly runs; later versions do not know these flags and would abort.
    flags = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flags}".strip()
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_compilation_cache_dir", str(CACHE))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


@pytest.fixture
def key():
    return jax.random.key(0)
