"""A second verifier of Notary Project signatures, written apart from ours: the measure of the bench, and an oracle.

It was the first to be written, to try out the rules, and is kept as it is. `verify` is the door. Only tests import it.
"""
