// The cells: every value that the element goes through, with what it is made of.
//
// A cell has a value that is calculated here and, unless it stands for nothing that the
// program keeps, the recorded one. `kind` says how they are compared: "bits", "bound",
// "hashed" for the frozen weight, whose bits have a digest of their own, and "input" for what
// the page cannot make from other numbers of it.

const PHASES = ["Noise", "Forward", "Loss", "Backward", "Update", "Next step"];

// The fewest digits that give a number of single precision back; 9 of another.
function digits(x) {
  if (!Number.isFinite(x) || Number.isInteger(x)) return String(x);
  if (f(x) === x) for (let p = 1; p <= 9; p++) if (f(Number(x.toPrecision(p))) === x) return String(Number(x.toPrecision(p)));
  return String(Number(x.toPrecision(9)));
}
const short = (x) => String(Number(x.toPrecision(4)));
const bracket = (x) => (x < 0 ? `(${digits(x)})` : digits(x));
function sumOf(terms) {
  const shown = terms.length <= 8 ? terms : [...terms.slice(0, 3), `… ${terms.length - 4} more …`, terms[terms.length - 1]];
  return shown.join(" + ");
}
const products = (x, y) => sumOf(x.map((value, k) => `${bracket(value)} · ${bracket(y[k])}`));

// What the element is part of, at a step: everything a cell may need.
function contextOf(doc, place, chosen) {
  const { step, layer, row: i, column: j } = place;
  const trace = doc.traces.find((it) => it.layer === layer);
  const pass = trace.passes[step], state = trace.states[step], run = doc.run;
  const what = { sigma: run.sigma, beta: run.beta, seed: run.seed, ...chosen };
  const c = {
    doc, run, i, j, step, layer, trace, pass, state, what,
    as: what.sigma === run.sigma && what.beta === run.beta && what.seed === run.seed,
    facts: doc.layers[layer], record: doc.steps[step], next: trace.states[step + 1],
    previous: step > 0 ? trace.passes[step - 1] : null, s: run.scaling,
    weights: rowOf(trace.weight, i), bias: trace.bias ? trace.bias[i] : 0,
    factor: doc.steps[step].sigma_factor,
  };
  c.n = c.facts.columns;
  c.r = c.state.a.length;
  c.index = i * c.n + j;
  c.key = c.as ? pass.key : keyOf(BigInt(what.seed));
  c.std = deviation(what.sigma, what.beta, c.factor, c.n, state.weight_squared[i], state.gradient_squared[i]);
  c.zs = range(c.n).map((other) => c.as ? rowOf(pass.z, i)[other] : draw(c.key, layer, step, i * c.n + other).z);
  c.eps = c.as ? rowOf(pass.eps, i) : c.zs.map((z) => add(0, mul(c.std, z)));
  return c;
}

function noiseCells(c) {
  const { i, j, n, r, s, state, pass, what, trace } = c, at = `${i},${j}`, cells = [];
  const recorded = (value) => (c.as ? value : undefined);
  const low = lowRankRow(state, i, s)[j], b = state.b[i], a = column(state.a, j);
  cells.push({ id: "W", sym: `W<sub>${at}</sub>`, title: "Frozen weight", torch: `layer.weight[${at}]`, kind: "hashed",
    value: c.weights[j], recorded: c.weights[j], from: [], equation: "W is never written",
    say: () => `One number of the base model. Its bits are hashed before and after every step; the hash of its row must be that of the row on this page.` });
  const before = c.step > 0 ? updated(c.run, c.doc.steps[c.step - 1], trace.states[c.step - 1], c.previous, c.step - 1, i, j) : null;
  const adapter = (id, sym, title, torch, recorded, start, say) => cells.push({ id, sym, title, torch, kind: before || start ? "bits" : "input", value: before ? before[id].map((it) => it.next) : start || recorded, recorded, from: [], equation: before ? "AdamW" : "LoRA",
    lists: before ? ["adamw"] : [], say: () => (before ? "What AdamW made of it in the step before, made again here." : say) });
  adapter("B", `B<sub>${i}</sub>`, `Row ${i} of B`, `lora_B.weight[${i}]`, b, c.step ? null : b.map(() => 0), "B starts at zero, so that W′ = W at first.");
  adapter("A", `A<sub>·${j}</sub>`, `Column ${j} of A`, `lora_A.weight[:, ${j}]`, a, null, "A starts uniform within ±1/√n.");
  cells.push({ id: "BA", sym: `(s B A)<sub>${at}</sub>`, title: "The adapter's part", torch: `scaling * (B @ A)[${at}]`, kind: "bound", value: low.value,
    recorded: rowOf(pass.low_rank, i)[j], roundings: r + 2, bound: boundOf(low.size, r, r + 2), from: ["B", "A"], equation: "LoRA", lists: ["fill"],
    formula: `s · Σ<sub>k</sub> B<sub>${i}k</sub> A<sub>k${j}</sub>`, numbers: () => `${digits(s)} · (${products(b, a)})` });
  const merged = c.weights[j] + low.value;
  cells.push({ id: "merged", sym: `W′<sub>${at}</sub>`, title: "Merged weight", torch: `(W + scaling * B @ A)[${at}]`, kind: "bound", value: merged,
    recorded: rowOf(pass.merged, i)[j], roundings: r + 3, bound: boundOf(Math.abs(c.weights[j]) + low.size, r + 1, r + 3), from: ["W", "BA"],
    equation: "W′ = W + s B A", lists: ["fill"], formula: `W<sub>${at}</sub> + (s B A)<sub>${at}</sub>`, numbers: () => `${digits(c.weights[j])} + ${bracket(low.value)}` });
  const square = mergedSquare(state, i, s, c.weights);
  cells.push({ id: "w2", sym: `‖W′<sub>${i}</sub>‖²`, title: "Square of the row's norm", torch: `(W + scaling * B @ A)[${i}].norm() ** 2`, kind: "bound",
    value: square.value, recorded: state.weight_squared[i], roundings: square.roundings, bound: square.bound, from: ["W", "B", "A"],
    equation: "Gram identity", lists: ["merged-norms", "gram"],
    formula: `‖W<sub>${i}</sub>‖² + 2 s ⟨B<sub>${i}</sub>, (W Aᵀ)<sub>${i}</sub>⟩ + s² B<sub>${i}</sub> (A Aᵀ) B<sub>${i}</sub>ᵀ`,
    numbers: () => square.terms.map(bracket).join(" + "), say: () => "The row of n merged numbers is never formed for this: the middle factors are m × r and r × r." });
  const slope = gradientSquare(state, i, s, c.previous, c.run.gradient);
  const how = { adapters: "By equation 7, from dA and dB of the step before, with A and B as they are now.", exact: "From the exact gradient of the step before.", none: "This method has no gradient term." };
  cells.push({ id: "g2", sym: `‖G<sub>${i}</sub>‖²`, title: "Square of the gradient's norm", torch: `(scaling * (B @ dA + dB @ A))[${i}].norm() ** 2`, kind: "bound",
    value: slope.value, recorded: state.gradient_squared[i], roundings: slope.roundings, bound: slope.bound, from: ["B", "A"], equation: "equation 7", lists: ["gradient-norms", "gram"],
    formula: `‖s (B dA + dB A)<sub>${i}</sub>‖² = s² u<sub>${i}</sub> M u<sub>${i}</sub>ᵀ, u<sub>${i}</sub> = [B<sub>${i}</sub>, dB<sub>${i}</sub>], M = [dA; A][dA; A]ᵀ`,
    numbers: () => digits(slope.value), say: () => c.previous ? how[c.run.gradient] : "The first step has no gradient before it: 0." });
  const scale = (what.sigma * c.factor) ** 2 / n, parts = [scale * state.weight_squared[i], scale * what.beta * state.gradient_squared[i]];
  const v = parts[0] + parts[1], share = v > 0 ? parts[1] / v : 0;
  cells.push({ id: "v", sym: `v<sub>${i}</sub>`, title: "Variance of the row's noise", torch: `sigma**2 / n * (w2 + beta * g2)`, kind: "bound", value: v,
    recorded: recorded(pass.deviation[i] ** 2), roundings: 14, bound: boundOf(v, 2, 14), from: ["w2", "g2"], equation: "equations 6, 8", lists: ["deviations"],
    formula: `(σ² / n) (‖W′<sub>${i}</sub>‖² + β ‖G<sub>${i}</sub>‖²)`,
    numbers: () => `(${digits(what.sigma)}²${c.factor === 1 ? "" : ` · ${digits(c.factor)}²`} / ${n}) · (${digits(state.weight_squared[i])} + ${digits(what.beta)} · ${digits(state.gradient_squared[i])}) = ${digits(parts[0])} + ${digits(parts[1])}`,
    say: () => `The gradient term is ${short(100 * share)} % of it. The program keeps the root of v<sub>${i}</sub>; its square stands beside this.` });
  cells.push({ id: "std", sym: `√v<sub>${i}</sub>`, title: "Standard deviation of the row's noise", torch: "v.sqrt()", kind: "bits", value: c.std, recorded: recorded(pass.deviation[i]),
    from: ["v", "w2", "g2"], equation: "equations 6, 8", lists: ["deviations", "begin-step"], formula: `σ/√n · √(‖W′<sub>${i}</sub>‖² + β ‖G<sub>${i}</sub>‖²), each operation rounded to single precision`,
    numbers: () => `${digits(f(what.sigma / Math.sqrt(n)))} · √${digits(add(state.weight_squared[i], mul(f(what.beta), state.gradient_squared[i])))}` });
  return cells.concat(drawnCells(c));
}

function drawnCells(c) {
  const { i, j, n, pass, what, index } = c, at = `${i},${j}`, key = keyOf(BigInt(what.seed));
  const found = draw(key, c.layer, c.step, index), kept = pass.words[found.block - pass.first_block];
  const recorded = (value) => (c.as ? value : undefined), place = found.word < 2 ? [0, 1] : [2, 3];
  return [
    { id: "key", sym: "key", title: "Key of the generator", torch: "none: torch.Generator has a state, this has none", kind: "bits", value: key, recorded: recorded(pass.key), show: hex,
      from: [], equation: "SplitMix64, twice", lists: ["stream", "mix"], formula: `mix(mix(seed) xor 1), 1 being the noise on weights`, numbers: () => `seed ${what.seed}` },
    { id: "counter", sym: "counter", title: "Counter of the block", torch: "none", kind: "derived", value: found.counter, show: hex, from: [], equation: "Philox 4x32", lists: ["block"],
      formula: `[block, block / 2³², layer, step]; element e lies in block 16 ⌊e/64⌋ + e mod 16, word ⌊(e mod 64)/16⌋`,
      numbers: () => `e = ${i} · ${n} + ${j} = ${index}: block ${found.block}, word ${found.word}; layer ${c.layer}, step ${c.step}` },
    { id: "words", sym: "words", title: "Random words of the block", torch: "none", kind: "bits", value: found.words, recorded: recorded(kept), show: hex, from: ["key", "counter"],
      equation: "Philox 4x32, seven rounds", lists: ["philox"], formula: "philox(counter, key)", numbers: () => `words ${place[0]} and ${place[1]} make this element and its twin` },
    { id: "z", sym: `z<sub>${at}</sub>`, title: "Standard normal number", torch: `torch.randn(m, n)[${at}]`, kind: "bits", value: found.z, recorded: recorded(rowOf(pass.z, i)[j]), from: ["words"],
      equation: "Box and Muller 1958", lists: ["normal", "logarithm", "angle"],
      formula: `√(−2 ln u) · ${found.word % 2 ? "sin" : "cos"} φ${found.pair[1] & 1 ? " (swapped)" : ""}, from words ${place.join(" and ")}`,
      numbers: () => `√${digits(minusTwoLn(found.pair[0]))} = ${digits(f(Math.sqrt(minusTwoLn(found.pair[0]))))}; sine and cosine of the eighth ${sinCosOfEighth(found.pair[1] & ~1).map(digits).join(", ")}` },
    { id: "eps", sym: `ε<sub>${at}</sub>`, title: "The noise of this element", torch: `(v.sqrt()[:, None] * z)[${at}]`, kind: "bits", value: add(0, mul(c.std, found.z)), recorded: recorded(rowOf(pass.eps, i)[j]),
      from: ["std", "z"], equation: "equation 6", lists: ["rows", "scaled"], formula: `√v<sub>${i}</sub> · z<sub>${at}</sub>`, numbers: () => `${digits(c.std)} · ${bracket(found.z)}`,
      say: () => "Stored nowhere: the backward pass makes it again from the same key and counter." },
  ];
}

function forwardCells(c) {
  const { i, j, pass, n, r } = c, at = `${i},${j}`, t = pass.inputs.token, x = pass.inputs.x;
  const low = lowRankRow(c.state, i, c.s), y = product(x, c.weights, low, c.eps, c.bias, r), merged = rowOf(pass.merged, i)[j];
  const spread = c.std * norm(x);
  return [
    { id: "noisy", sym: `W′<sub>${at}</sub> + ε<sub>${at}</sub>`, title: "The weight that acts", torch: `(W + scaling * B @ A + eps)[${at}]`, kind: "bits", value: add(merged, c.eps[j]),
      recorded: c.as ? rowOf(pass.noisy, i)[j] : undefined, from: ["merged", "eps"], equation: "L(W′ + ε)", lists: ["fill"], formula: `W′<sub>${at}</sub> + ε<sub>${at}</sub>`,
      numbers: () => `${digits(merged)} + ${bracket(c.eps[j])}`, say: () => "Made in scratch memory, a few rows at a time, on the way to the product. W itself is only read." },
    { id: "x", sym: `x<sub>${t},${j}</sub>`, title: `Input of the layer at token ${t}`, torch: `x.flatten(0, -2)[${t}, ${j}]`, kind: "input", value: x[j], recorded: x[j], from: [], equation: "", say: () => "What the layers below give, all of them under noise of their own." },
    { id: "part", sym: `x<sub>${t},${j}</sub> ε<sub>${at}</sub>`, title: "Its share in one dot product", torch: `x[${t}, ${j}] * eps[${at}]`, kind: "derived", value: x[j] * c.eps[j], from: ["x", "eps"], equation: "y = x (W′ + ε)ᵀ + b",
      formula: `x<sub>${t},${j}</sub> · ε<sub>${at}</sub>`, numbers: () => `${digits(x[j])} · ${bracket(c.eps[j])}` },
    { id: "noise-part", sym: `⟨x<sub>${t}</sub>, ε<sub>${i}</sub>⟩`, title: "What all noise of the row adds", torch: `x[${t}] @ eps[${i}]`, kind: "derived", value: y.parts.noise, from: ["part"], equation: "⟨x, ε_i⟩ ~ N(0, v_i ‖x‖²)",
      formula: `Σ<sub>j</sub> x<sub>${t}j</sub> ε<sub>${i}j</sub>`, numbers: () => products(x, c.eps),
      say: () => `Its standard deviation is √v<sub>${i}</sub> ‖x<sub>${t}</sub>‖ = ${short(spread)}: this draw is ${spread > 0 ? short(y.parts.noise / spread) : 0} of them.` },
    { id: "y", sym: `y<sub>${t},${i}</sub>`, title: `Output ${i} of the layer at token ${t}`, torch: `F.linear(x, W + scaling * B @ A + eps, bias)[${t}, ${i}]`, kind: "bound", value: y.value, recorded: c.as ? pass.inputs.y[i] : undefined,
      roundings: y.roundings, bound: y.bound, from: ["noisy", "x", "noise-part"], equation: "y = x (W′ + ε)ᵀ + b", lists: ["fill"], formula: `Σ<sub>j</sub> x<sub>${t}j</sub> (W<sub>${i}j</sub> + (s B A)<sub>${i}j</sub> + ε<sub>${i}j</sub>) + b<sub>${i}</sub>`,
      numbers: () => `${digits(y.parts.weight)} + ${bracket(y.parts.adapter)} + ${bracket(y.parts.noise)} + ${bracket(y.parts.bias)}` },
  ];
}

function lossCells(c) {
  const step = c.record, cells = [], logits = step.logits;
  const loss = { id: "loss", sym: "L(W′ + ε)", title: "The loss of the step", torch: "F.cross_entropy(logits, targets)", kind: "input", value: step.loss, recorded: step.loss, from: ["y"], equation: "mean cross entropy",
    say: () => "Where the gradient of this step is taken." };
  if (logits) {
    const rows = logits.rows.map((row, k) => {
      const top = Math.max(...row), sum = row.reduce((sum, z) => sum + Math.exp(z - top), 0);
      return { value: top + Math.log(sum) - row[logits.targets[k]], size: Math.abs(top) + Math.abs(Math.log(sum)) + Math.abs(row[logits.targets[k]]) + 1 };
    });
    const classes = logits.rows[0].length, count = rows.length, roundings = classes + count + 12;
    const { value } = total(rows.map((row) => row.value / count)), { size } = total(rows.map((row) => row.size / count));
    Object.assign(loss, { kind: "bound", value, roundings, bound: boundOf(size, count, roundings), formula: `(1/${count}) Σ (ln Σ<sub>c</sub> exp z<sub>c</sub> − z<sub>target</sub>)`,
      numbers: () => sumOf(rows.map((row) => digits(row.value))), note: "The exponential and the logarithm are each within 2 units in the last place: they count as 4 roundings each." });
  }
  cells.push(loss);
  cells.push({ id: "without", sym: "L(W′)", title: "The same loss without noise", torch: "the same forward pass, eps = 0", kind: "input", value: step.loss_without, recorded: step.loss_without, from: [], equation: "",
    say: () => "The trainer's own step at σ = 0, from the same state: plain LoRA, bit for bit." });
  cells.push({ id: "rise", sym: "L(W′ + ε) − L(W′)", title: "What the noise costs in this step", torch: "", kind: "derived", value: step.loss - step.loss_without, from: ["loss", "without"], equation: "", numbers: () => `${digits(step.loss)} − ${bracket(step.loss_without)}`, formula: "measured, in single precision" });
  const found = step.curvature.found;
  if (!found) return cells.concat({ id: "second", sym: "½ ε·Hε", title: "The second order", torch: "", kind: "none", value: "not calculated", from: [], equation: "", say: () => `Not calculated: ${step.curvature.skipped}.` });
  const rest = found.rise - found.first - found.second, mean = found.mean_rise, expected = found.expected;
  cells.push({ id: "second", sym: "⟨G, ε⟩ + ½ ε·Hε", title: "The same to second order", torch: "torch.func.hvp", kind: "derived", value: found.first + found.second, from: ["rise"], equation: "Taylor", formula: "slope along ε, and curvature along ε, in double precision",
    numbers: () => `${digits(found.first)} + ${bracket(found.second)}`, say: () => `Measured in double precision: ${digits(found.rise)}. The rest, third order and above, is ${short(rest)}.` });
  cells.push({ id: "expected", sym: "½ Σ v<sub>i</sub> tr H<sub>ii</sub>", title: "The rise to expect over many draws", torch: "", kind: "derived", value: expected.value, from: ["v", "second"], equation: "E[L(W′ + ε)] − L(W′) to second order",
    formula: "half the traces of the Hessian's blocks of rows, weighted by their variances", numbers: () => expected.standard_error === null ? "exact, from a Hessian-vector product for every weight" : `± ${short(expected.standard_error)}, from ${expected.samples} random vectors`,
    say: () => `Measured over ${mean.samples} fresh pairs ±ε: ${short(mean.value)} ± ${short(mean.standard_error)}.` });
  return cells;
}

function backwardCells(c) {
  const { i, j, pass, state, s, r } = c, at = `${i},${j}`, cells = [], rows = c.facts.rows;
  const dys = columnOf(pass.inputs.dys, i), xs = columnOf(pass.inputs.xs, j), g = gradient(dys, xs);
  if (pass.gradient) cells.push({ id: "G", sym: `G<sub>${at}</sub>`, title: "Gradient of the merged weight", torch: `W_merged.grad[${at}]`, kind: "bound", value: g.value, recorded: rowOf(pass.gradient, i)[j], roundings: g.roundings, bound: g.bound,
    from: ["loss", "x"], equation: "G = dyᵀ x", lists: [], formula: `Σ<sub>t</sub> dy<sub>t${i}</sub> x<sub>t${j}</sub>, over ${dys.length} tokens`, numbers: () => products(dys, xs), say: () => "Taken at W′ + ε. Training does not need it: it is calculated for this page, and to judge equation 7." });
  const found = factorGradients(pass.inputs, state, s, i, j, rows);
  const factor = (id, sym, title, torch, parts, recorded, formula, equation) => cells.push({ id, sym, title, torch, kind: "bound", value: parts.map((p) => p.value), recorded, roundings: parts[0].roundings, bound: parts.map((p) => p.bound),
    from: ["G", "A", "B"], equation, lists: ["backward"], formula, numbers: () => parts.map((p) => digits(p.value)).join(", ") });
  factor("dA", `dA<sub>·${j}</sub>`, `Gradient of column ${j} of A`, `lora_A.weight.grad[:, ${j}]`, found.a, column(pass.grad_a, j), `s Σ<sub>t</sub> (dy B)<sub>tk</sub> x<sub>t${j}</sub>, which is s (Bᵀ G)<sub>k${j}</sub>, for k = 0 … ${r - 1}`, "dA = s Bᵀ G");
  factor("dB", `dB<sub>${i}</sub>`, `Gradient of row ${i} of B`, `lora_B.weight.grad[${i}]`, found.b, pass.grad_b[i], `s Σ<sub>t</sub> dy<sub>t${i}</sub> (x Aᵀ)<sub>tk</sub>, which is s (G Aᵀ)<sub>${i}k</sub>, for k = 0 … ${r - 1}`, "dB = s G Aᵀ");
  const estimate = estimateRow(state, pass, s, i)[j].value;
  cells.push({ id: "estimate", sym: `s (B dA + dB A)<sub>${at}</sub>`, title: "The gradient as the adapters see it", torch: `(scaling * (B @ dA + dB @ A))[${at}]`, kind: "derived", value: estimate, from: ["dA", "dB", "A", "B"], equation: "equation 7",
    formula: `s Σ<sub>k</sub> (B<sub>${i}k</sub> dA<sub>k${j}</sub> + dB<sub>${i}k</sub> A<sub>k${j}</sub>)`, numbers: () => digits(estimate),
    say: () => pass.gradient ? `By the chain rule this is s² (B Bᵀ G + G Aᵀ A): a projection of G, scaled. Here it is ${short(estimate / rowOf(pass.gradient, i)[j])} times G<sub>${at}</sub>.` : "" });
  return cells;
}

// What AdamW makes of column j of A and of row i of B in a step, k for k.
function updated(run, record, state, pass, step, i, j) {
  const clip = clipFactor(run.clip, record.gradient_norm);
  const part = (pick, factor, moments, gradient, rate) => {
    const [ms, vs] = moments.map((m) => (m.length ? pick(m) : null)), gs = pick(gradient);
    return pick(factor).map((w, k) => ({ w, ...adamw(run.adamw, step + 1, rate * record.learning_rate, w, ms ? ms[k] : 0, vs ? vs[k] : 0, mul(clip, gs[k])) }));
  };
  return {
    A: part((m) => column(m, j), state.a, state.moments_a, pass.grad_a, run.rate_factors[0]),
    B: part((m) => m[i], state.b, state.moments_b, pass.grad_b, run.rate_factors[1]),
  };
}

function updateCells(c) {
  const { i, j, state, pass, next, record, run } = c, cells = [], clip = clipFactor(run.clip, record.gradient_norm);
  cells.push({ id: "clip", sym: "c", title: "Factor of clipping", torch: "clip_grad_norm_", kind: "derived", value: clip, from: [], equation: "min(1, limit / (norm + 1e-6))", lists: ["clip"], formula: run.clip === null ? "1: gradients are not clipped" : `${run.clip} / (${digits(record.gradient_norm)} + 1e-6), at most 1`, numbers: () => `norm of all gradients: ${digits(record.gradient_norm)}` });
  const made = updated(run, record, state, pass, c.step, i, j);
  const part = (id, name, torch, kept, factor) => {
    const each = (key, sym, title, inTorch, from, formula) => cells.push({ id: `${id}-${key}`, sym, title, torch: inTorch, kind: "bits", value: made[id].map((it) => it[key]), recorded: kept[key], from, equation: "AdamW", lists: ["adamw"], formula,
      numbers: () => made[id].map((it) => (key === "next" ? `${digits(it.w)} − ${digits(it.size)} · ${bracket(it.first)} / ${digits(it.denominator)}` : digits(it[key]))).join("; ") });
    each("first", `m(${name})`, `First moment of ${torch}`, 'optimizer.state[...]["exp_avg"]', [`d${id}`, "clip"], "m + (1 − β₁) (c g − m)");
    each("second", `v(${name})`, `Second moment of ${torch}`, 'optimizer.state[...]["exp_avg_sq"]', [`d${id}`, "clip"], "β₂ v + (1 − β₂) (c g)²");
    each("next", `${name} next`, `After the step: ${torch}`, torch, [id, `${id}-first`, `${id}-second`], `w − (lr / (1 − β₁ᵗ)) m / (√v / √(1 − β₂ᵗ) + eps), t = ${c.step + 1}, lr = ${digits(factor * record.learning_rate)}${run.adamw.weight_decay ? ", w after weight decay" : ""}`);
  };
  const kept = (moments, value, pick) => ({ first: pick(moments[0]), second: pick(moments[1]), next: pick(value) });
  part("A", `A<sub>·${j}</sub>`, `lora_A.weight[:, ${j}]`, kept(next.moments_a, next.a, (m) => column(m, j)), run.rate_factors[0]);
  part("B", `B<sub>${i}</sub>`, `lora_B.weight[${i}]`, kept(next.moments_b, next.b, (m) => m[i]), run.rate_factors[1]);
  const layer = record.layers[c.layer];
  cells.push({ id: "step", sym: "‖Δ(s B A)‖", title: "What the step did to the layer", torch: "", kind: "none", value: layer.update.norm, from: ["A-next", "B-next"], equation: "",
    say: () => `Without noise it would have been ${short(layer.update.norm_without)}, in a direction whose cosine with this one is ${layer.update.cosine === null ? "not defined" : digits(layer.update.cosine)}. Adam divides by the size of the gradient, so the length hardly changes; the direction does.` });
  return cells;
}

function nextCells(c) {
  const { i, j, next, pass, s, n, run } = c, at = `${i},${j}`, low = lowRankRow(next, i, s)[j], square = mergedSquare(next, i, s, c.weights), slope = gradientSquare(next, i, s, pass, run.gradient);
  const v = (run.sigma ** 2 / n) * (square.value + run.beta * slope.value);
  return [
    { id: "W-still", sym: `W<sub>${at}</sub>`, title: "The frozen weight, after the step", torch: `layer.weight[${at}]`, kind: "hashed", value: c.weights[j], recorded: c.weights[j], from: ["W"], equation: "W is never written",
      say: () => `SHA-256 of the layer's bits before: <code>${c.record.layers[c.layer].weight_before.slice(0, 16)}…</code>, after: <code>${c.record.layers[c.layer].weight_after.slice(0, 16)}…</code>. Nothing of ε remains.` },
    { id: "next-merged", sym: `W′<sub>${at}</sub> next`, title: "Merged weight that the next step begins with", torch: `(W + scaling * B @ A)[${at}]`, kind: "derived", value: c.weights[j] + low.value, from: ["W-still", "A-next", "B-next"], equation: "W′ = W + s B A", formula: `W<sub>${at}</sub> + s Σ<sub>k</sub> B<sub>${i}k</sub> A<sub>k${j}</sub>`, numbers: () => `${digits(c.weights[j])} + ${bracket(low.value)}` },
    { id: "next-w2", sym: `‖W′<sub>${i}</sub>‖² next`, title: "Square of the row's norm that the next step begins with", torch: `(W + scaling * B @ A)[${i}].norm() ** 2`, kind: "bound", value: square.value, recorded: next.weight_squared[i], roundings: square.roundings, bound: square.bound, from: ["W-still", "A-next", "B-next"], equation: "Gram identity", lists: ["merged-norms"], formula: "as before, with the new A and B", numbers: () => square.terms.map(bracket).join(" + ") },
    { id: "next-g2", sym: `‖G<sub>${i}</sub>‖² next`, title: "Square of the gradient's norm that the next step begins with", torch: `(scaling * (B @ dA + dB @ A))[${i}].norm() ** 2`, kind: "bound", value: slope.value, recorded: next.gradient_squared[i], roundings: slope.roundings, bound: slope.bound, from: ["dA", "dB", "A-next", "B-next"], equation: "equation 7", lists: ["gradient-norms"], formula: "dA and dB of this step, raw: before clipping", numbers: () => digits(slope.value) },
    { id: "next-v", sym: `v<sub>${i}</sub> next`, title: "Variance at the next step, at the full σ", torch: "", kind: "derived", value: v, from: ["next-w2", "next-g2"], equation: "equations 6, 8", formula: "(σ² / n) (‖W′‖² + β ‖G‖²)", numbers: () => `(${digits(run.sigma)}² / ${n}) · (${digits(square.value)} + ${digits(run.beta)} · ${digits(slope.value)})` },
  ];
}

// All cells of an element, phase by phase.
function cellsOf(c) {
  return [noiseCells, forwardCells, lossCells, backwardCells, updateCells, nextCells].map((make) => make(c));
}
