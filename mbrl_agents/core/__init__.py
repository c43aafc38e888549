"""What runs and algorithms are made of: learners, run states, loops, replay, networks, evaluation."""
