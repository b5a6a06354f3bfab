"""Pictures from latents: generators behind one protocol.

Nothing here imports torch or diffusers before a generator is asked for.
"""
