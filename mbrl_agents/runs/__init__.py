"""Runs in folders: how each is described, trained, evaluated, saved and gone on with; many of one program at once.

* What a run is: ``config``, ``agents``, ``environments``; its folder: ``run_folder``, ``metrics``, ``versions``.
* Runs of any agent, in processes: ``training``, ``workers``. Runs of ours, many in one program: ``programs``, ``memory``,
  ``executor`` (threads, ``vmap``, sharding), ``training_groups``, ``scheduler``.
* ``checkpoints``, ``saved_agents``; ``evaluation``, ``scores``; ``progress``.
"""
