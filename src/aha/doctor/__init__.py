"""What can be wrong with a machine (`machine`), or with the processes of a run before its first step (`cluster`)."""
