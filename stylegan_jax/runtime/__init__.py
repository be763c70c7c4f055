"""What a process needs to run programs: the mesh, processes, signals, the lock, compilation."""
