"""What runs inside the process of one side of a comparison, ours included, and how such a process is started."""
