"""What runs in the environments of the peers: one application each, the jobs' bodies, and the producer.

Nothing here imports more than the standard library and the peer itself.
"""
