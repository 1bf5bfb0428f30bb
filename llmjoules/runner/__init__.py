"""The runner: phases, repeats, processes, and models without a hub. Never imports a vendor's library."""
