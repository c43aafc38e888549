"""Parts that agents share: loops, replay, networks, saving."""
