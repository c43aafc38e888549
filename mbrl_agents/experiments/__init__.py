"""Many runs: run folders, comparison of agents, statistics, plots, and the commands of ``mbrl`` for them.

What a run is and how it is trained: ``config``, ``run_folder``, ``training``. Several of them: ``comparison``, ``workers``,
``progress``. What they say: ``evaluation``, ``results``, ``statistics``, ``plots``, ``video``. Who takes part: ``agents``,
``environments``, ``presets``. The command line: ``commands``, ``command_runs``.
"""
