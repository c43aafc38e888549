"""Many runs: run folders, comparison of agents, statistics, plots, and the commands of ``mbrl`` for them.

* Who takes part, and in what: ``agents``, ``environments``; settings by name or from a file: ``presets``, ``published``,
  ``preset_files``.
* What a run is and how it is trained: ``config``, ``run_folder``, ``metrics``, ``versions``; ``training``, ``checkpoints``,
  ``saved_agents``.
* Several of them: ``comparison``, ``workers``, ``progress``; in one program: ``sweeps``.
* What they say: ``evaluation``, ``scores``, ``results``, ``statistics``.
* Pictures: ``figures``, ``plots``, ``video``; of value RNNs: ``value_rnn_plots``; of world models: ``imagination``,
  ``imagination_pictures``, ``imagination_plots``.
* The command line: ``commands``, ``command_parts``, ``command_arguments``, ``command_runs``, ``command_sweep``,
  ``command_imagine``.
"""
