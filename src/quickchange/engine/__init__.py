"""The core: from a model directory to a stream.

A guided tour, the way of one frame:

1. ``Components.from_pretrained`` reads the model directory: transformer, codec, text encoder, stream settings.
2. ``Studio`` holds them on a device and opens sessions.
3. ``Conditioner`` turns the pictures of person and garment into one latent frame each, and the prompt into keys and
   values for cross-attention.
4. ``Rollout.conditions`` forwards both latents jointly at t = 0. The cache files them under the threads reference and
   garment, pinned.
5. ``Rollout.denoise`` draws a chunk's noise (``NoiseBuffer``) and walks it down the few noise levels. Each pass
   overwrites the chunk's own slots of the cache.
6. ``Rollout.settle`` forwards the clean chunk at t = 0 and commits it as history, made under the versions in force.
7. ``Session`` decodes the chunk with its segment's codec state and hands out a ``Chunk``.

A control (``wear``, ``say``, ``reference``) is encoded in the caller's thread and waits in the ``Mailbox``, where the
latest of its kind wins. At the next chunk border the session takes it up. For a new garment it encodes the frame that
was last shown and calls ``switch``: versions move on, history turns stale, and the variant's moves refresh, withdraw,
forward and open a segment. The next chunk says which sequence id it obeys.

``threads`` chooses how many CPU threads compute, ``memory`` says how many more sessions fit.
"""
