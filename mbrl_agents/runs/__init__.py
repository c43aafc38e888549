"""Runs in folders: how each is described, trained, evaluated, saved and gone on with; many of one program at once.

* What a run is: ``config``, ``agents``, ``environments``; its folder: ``run_folder``, ``metrics``, ``versions``.
* Runs of ours, one or many in a program: ``programs``, ``memory``, ``executor`` (threads, ``vmap``, sharding),
  ``training_groups``, ``running_means``, ``scheduler``. A single run, or one of any other agent: ``training``; in processes:
  ``workers``.
* ``checkpoints``, ``saved_agents``; ``evaluation``, ``scores``; ``progress``.
"""
