// The equations that cells name, each with its source.
const EQUATIONS = {
  lora: [
    "LoRA",
    "W′ = W + s B A",
    "W (m × n) is frozen; A (r × n) and B (m × r) are trained; s = α / r. Hu and others 2021.",
  ],
  variance: [
    "Equations 6 and 8",
    "ε<sub>ij</sub> ~ N(0, v<sub>i</sub>), v<sub>i</sub> = (σ² / n) (‖W′<sub>i</sub>‖² + β ‖G<sub>i</sub>‖²)",
    "Every step draws one ε for every adapted layer; a row is the weights of one output. Chang and others 2025, version 1.",
  ],
  estimate: [
    "Equation 7",
    "G ≈ s (B dA + dB A)",
    "From the gradients of the step before, so that one pass is enough. Chang and others 2025, version 1.",
  ],
  gram: [
    "Gram identity",
    "‖(W + s B A)<sub>i</sub>‖² = ‖W<sub>i</sub>‖² + 2 s ⟨B<sub>i</sub>, (W Aᵀ)<sub>i</sub>⟩ + s² B<sub>i</sub> (A Aᵀ) B<sub>i</sub>ᵀ",
    "Norms of rows from products of size m × r and r × r. In the same way ‖(U V)<sub>i</sub>‖² = U<sub>i</sub> (V Vᵀ) U<sub>i</sub>ᵀ.",
  ],
  philox: [
    "Philox 4x32",
    "words = philox(counter, key), seven rounds",
    "A bijection of counters of 128 bits for every key: nothing is stored, and any element can be drawn again. Salmon and others 2011; the key is SplitMix64 of seed and purpose, twice.",
  ],
  normal: [
    "Box and Muller",
    "z = √(−2 ln u) cos φ, and its twin with sin φ",
    "From two words: 31 bits of the one give u, the other an eighth of a turn, the two bits left over the sign and the exchange. 1958.",
  ],
  product: [
    "The layer",
    "y = x (W′ + ε)ᵀ + b",
    "The same ε forward and backward. For a given x, ⟨x, ε<sub>i</sub>⟩ ~ N(0, v<sub>i</sub> ‖x‖²).",
  ],
  loss: [
    "The loss",
    "L = mean of (ln Σ<sub>c</sub> exp z<sub>c</sub> − z<sub>target</sub>)",
    "Cross entropy; of a regression the mean squared error.",
  ],
  taylor: [
    "The second order",
    "E[L(W′ + ε)] − L(W′) ≈ ½ Σ<sub>i</sub> v<sub>i</sub> tr H<sub>ii</sub>",
    "For one draw ⟨G, ε⟩ + ½ ε·Hε; the first vanishes in the mean.",
  ],
  chain: [
    "The chain rule",
    "G = dyᵀ x, dA = s Bᵀ G, dB = s G Aᵀ",
    "So equation 7 is s² (B Bᵀ G + G Aᵀ A): a projection of G, not G.",
  ],
  clipping: [
    "Clipping",
    "g ← g · min(1, limit / (‖g‖ + 10⁻⁶))",
    "By the norm of all gradients together, as in PyTorch.",
  ],
  adamw: [
    "AdamW",
    "m ← β₁ m + (1 − β₁) g; v ← β₂ v + (1 − β₂) g²; w ← (1 − lr λ) w − lr / (1 − β₁ᵗ) · m / (√(v / (1 − β₂ᵗ)) + eps)",
    "Loshchilov and Hutter 2019. Its v is not the variance of the noise.",
  ],
};
const equationLink = (id) => id && `<a href="#equation-${id}">${EQUATIONS[id][0]}</a>: ${EQUATIONS[id][1]}`;
