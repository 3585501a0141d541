"""Runs on Ray, of this machine or of a cluster: workers that sample and grade, and learners, as actors.

`supervise.py` is the command's side: it connects, finds room, starts the learners, shows what the first one tells, and
starts all of them again where one has died. `launcher.py` is the first learner's: it starts workers for the pool of
`rollout/`. Ray itself is imported inside of functions alone: without it, everything else runs.
"""
