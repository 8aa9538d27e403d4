"""A generator that is trained on a user's trajectory: encoder, temporal module, diffusion decoder, sampler, losses.

At its start it is a closed-form model (`prior`): the net predicts only what differs from it. Coordinates enter and
leave as rigid frames of residues, and their increments are those of a chart (`charts`: rigid bodies, or turning bonds),
so turning the input turns the output. One of some drawn steps, as long as true ones are, is taken (`selection`).
"""
