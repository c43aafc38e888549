"""Building blocks of runs and algorithms: learners, run states, loops, replay, networks, evaluation."""
