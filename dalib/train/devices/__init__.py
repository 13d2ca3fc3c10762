"""Devices: meshes, sharded states, and several processes."""
