"""Training: codec, teacher, teacher forcing, distillation; one loop, one recipe file."""

STAGES = {
    "vae": "the light codec",
    "sft": "the bidirectional teacher, in context",
    "tf": "the chunk-causal student, teacher forcing in context",
    "dmd": "the few-step student on its own rollouts, distribution matching",
    "parser": "the judge: labels, keypoints and garment attributes of frames",
}
