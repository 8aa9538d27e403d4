"""A generator that is trained on a user's trajectory: encoder, temporal module, diffusion decoder, sampler, losses.

At its start it is a closed-form model (`prior`): the net predicts only what differs from it. Coordinates enter and
leave as rigid frames of residues and their increments in local frames, so turning the input turns the output.
"""
