"""The papers' algorithm, written plainly for RoBERTa and MPNet with mean pooling; nothing of xsbert is in it.

(Moeller et al., EMNLP 2023, sections 3 and 4; the same for models off the shelf, EACL 2024, section 3.)
"""

import torch
from transformers import AutoModel, AutoTokenizer


def published_matrices(path, text_a, text_b, layer, n_steps):
    """The token matrices (S, T): ``"cosine"`` and ``"shifted cosine"``, and ``"dot"``, which is the same for both."""
    tokenizer, model = AutoTokenizer.from_pretrained(path), AutoModel.from_pretrained(path).eval()
    a, b = (one_text(tokenizer, model, text, layer, n_steps) for text in (text_a, text_b))
    # Attributions to pairs of features, before a division by norms; then summed over the features.
    pairs = torch.einsum("sh,esh,etk,tk->shtk", a["x - r"], a["jacobian"], b["jacobian"], b["x - r"])
    matrix = pairs.sum((1, 3))
    cosine = matrix / (a["f(x)"].norm() * b["f(x)"].norm())
    shifted = matrix / ((a["f(x)"] - a["f(r)"]).norm() * (b["f(x)"] - b["f(r)"]).norm())
    return {"cosine": cosine.numpy(), "shifted cosine": shifted.numpy(), "dot": matrix.numpy()}


def one_text(tokenizer, model, text, layer, n_steps):
    """What the two halves of the matrix are made of; the Jacobian (E, S, H) is integrated by a right Riemann sum."""
    text_ids = tokenizer(text, return_tensors="pt")["input_ids"]
    reference_ids = text_ids.clone()
    reference_ids[0, 1:-1] = tokenizer.pad_token_id
    with torch.no_grad():
        x, f_x = run(model, text_ids, layer)
        r, f_r = run(model, reference_ids, layer)
    steps = torch.stack([r + step / n_steps * (x - r) for step in range(1, n_steps + 1)]).requires_grad_()
    _, embeddings = run(model, text_ids.expand(n_steps, -1), layer, steps)
    # One backward pass for each dimension of the embedding; every step sees its own row alone.
    gradients = [
        torch.autograd.grad(dimension.sum(), steps, retain_graph=True)[0].mean(0) for dimension in embeddings.T
    ]
    return {"jacobian": torch.stack(gradients), "x - r": x - r, "f(x)": f_x, "f(r)": f_r}


def run(model, ids, layer, entering=None):
    """States that enter a layer, and the mean of the last states, of one text or of several.

    The model numbers the positions by itself, and all tokens are attended to. ``entering`` (N, S, H) takes the place
    of the states that enter the layer.
    """
    seen = []

    def enter(module, args):
        seen.append(args[0] if entering is None else entering)
        return (seen[0], *args[1:])

    hook = model.encoder.layer[layer].register_forward_pre_hook(enter)
    try:
        states = model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
    finally:
        hook.remove()
    embeddings = states.mean(1)
    return (seen[0][0], embeddings[0]) if entering is None else (seen[0], embeddings)
