"""Many runs: sweeps, comparisons of agents, statistics, plots, and the commands of ``mbrl`` for them.

* Settings by name or from a file: ``presets``, ``published``, ``preset_files``.
* Several runs, of one agent or of several (a single one: :mod:`mbrl_agents.runs`): ``sweeps``.
* What they say: ``objectives``, ``results``, ``statistics``.
* Pictures: ``figures``, ``plots``, ``video``; of value RNNs: ``value_rnn_plots``; of world models: ``imagination``,
  ``imagination_pictures``, ``imagination_plots``.
* The command line: ``commands``, ``command_parts``, ``command_arguments``, ``command_runs``, ``command_sweep``,
  ``command_compare``, ``command_imagine``.
"""
