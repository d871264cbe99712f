// The cells of the optimiser's step, and what the next one begins with.

// What AdamW makes of column j of A and of row i of B in a step, k for k.
function updated(run, record, state, pass, step, i, j) {
  const clip = clipFactor(run.clip, record.gradient_norm);
  const part = (pick, factor, moments, gradient, rate) => {
    const [ms, vs] = moments ? moments.map(pick) : [null, null],
      gs = pick(gradient);
    const one = (w, m, v, g) => ({
      w,
      m,
      v,
      g,
      ...adamw(run.adamw, step + 1, rate * record.learning_rate, w, m, v, g),
    });
    return pick(factor).map((w, k) => one(w, ms ? ms[k] : 0, vs ? vs[k] : 0, mul(clip, gs[k])));
  };
  return {
    A: part((m) => columnOf(m, j), state.a, state.moments_a, pass.grad_a, run.rate_factors[0]),
    B: part((m) => rowOf(m, i), state.b, state.moments_b, pass.grad_b, run.rate_factors[1]),
  };
}

function updateCells(c) {
  const { i, j, state, pass, next, record, run } = c,
    cells = [],
    clip = clipFactor(run.clip, record.gradient_norm);
  cells.push({
    id: "clip",
    sym: "c",
    title: "Factor of clipping",
    torch: "clip_grad_norm_",
    kind: "derived",
    value: clip,
    from: [],
    equation: "clipping",
    lists: ["clip"],
    formula:
      run.clip === null
        ? "1: gradients are not clipped"
        : `${run.clip} / (${digits(record.gradient_norm)} + 1e-6), at most 1`,
    numbers: () => `norm of all gradients: ${digits(record.gradient_norm)}`,
  });
  const made = updated(run, record, state, pass, c.step, i, j),
    { beta1, beta2 } = run.adamw;
  const inPlace = {
    first: (it) => `${digits(it.m)} + (1 − ${beta1}) · (${digits(it.g)} − ${bracket(it.m)})`,
    second: (it) => `${beta2} · ${digits(it.v)} + (1 − ${beta2}) · ${bracket(it.g)}²`,
    next: (it) => `${digits(it.w)} − ${digits(it.size)} · ${bracket(it.first)} / ${digits(it.denominator)}`,
  };
  const part = (id, name, torch, kept, factor) => {
    const each = (key, sym, title, inTorch, from, formula) =>
      cells.push({
        id: `${id}-${key}`,
        sym,
        title,
        torch: inTorch,
        kind: "bits",
        value: made[id].map((it) => it[key]),
        recorded: kept[key],
        from,
        equation: "adamw",
        lists: ["adamw"],
        formula,
        numbers: () => eachK(made[id].map(inPlace[key])),
      });
    each(
      "first",
      `m(${name})`,
      `First moment of ${torch}`,
      'optimizer.state[...]["exp_avg"]',
      [`d${id}`, "clip"],
      "m + (1 − β₁) (c g − m)",
    );
    each(
      "second",
      `v(${name})`,
      `Second moment of ${torch}`,
      'optimizer.state[...]["exp_avg_sq"]',
      [`d${id}`, "clip"],
      "β₂ v + (1 − β₂) (c g)²",
    );
    each(
      "next",
      `${name} next`,
      `After the step: ${torch}`,
      torch,
      [id, `${id}-first`, `${id}-second`],
      `w − (lr / (1 − β₁ᵗ)) m / (√v / √(1 − β₂ᵗ) + eps), t = ${c.step + 1}, lr = ${digits(factor * record.learning_rate)}${run.adamw.weight_decay ? ", w after weight decay" : ""}`,
    );
  };
  const kept = (moments, value, pick) => ({
    first: pick(moments[0]),
    second: pick(moments[1]),
    next: pick(value),
  });
  part(
    "A",
    `A<sub>·${j}</sub>`,
    `lora_A.weight[:, ${j}]`,
    kept(next.moments_a, next.a, (m) => columnOf(m, j)),
    run.rate_factors[0],
  );
  part(
    "B",
    `B<sub>${i}</sub>`,
    `lora_B.weight[${i}]`,
    kept(next.moments_b, next.b, (m) => rowOf(m, i)),
    run.rate_factors[1],
  );
  const layer = record.layers[c.layer];
  cells.push({
    id: "step",
    sym: "‖Δ(s B A)‖",
    title: "What the step did to the layer",
    torch: "",
    kind: "none",
    value: layer.update.norm,
    from: ["A-next", "B-next"],
    equation: "",
    say: () =>
      `Without noise it would have been ${short(layer.update.norm_without)}, in a direction whose cosine with this one is ${layer.update.cosine === null ? "not defined" : digits(layer.update.cosine)}. Adam divides by the size of the gradient, so the length hardly changes; the direction does.`,
  });
  return cells;
}

function nextCells(c) {
  const { i, j, next, pass, s, n, run } = c,
    at = `${i},${j}`,
    low = lowRankRow(next, i, s)[j],
    square = mergedSquare(next, i, s, c.weights),
    slope = gradientSquare(next, i, s, pass, run.gradient);
  const v = (run.sigma ** 2 / n) * (square.value + run.beta * slope.value);
  return [
    {
      id: "W-still",
      sym: `W<sub>${at}</sub>`,
      title: "The frozen weight, after the step",
      torch: `layer.weight[${at}]`,
      kind: "hashed",
      value: c.weights[j],
      recorded: c.weights[j],
      from: ["W"],
      equation: "lora",
      say: () =>
        `SHA-256 of the layer's bits before: <code>${c.record.layers[c.layer].weight_before.slice(0, 16)}…</code>, after: <code>${c.record.layers[c.layer].weight_after.slice(0, 16)}…</code>. Nothing of ε remains.`,
    },
    {
      id: "next-merged",
      sym: `W′<sub>${at}</sub> next`,
      title: "Merged weight that the next step begins with",
      torch: `(W + scaling * B @ A)[${at}]`,
      kind: "derived",
      value: c.weights[j] + low.value,
      from: ["W-still", "A-next", "B-next"],
      equation: "lora",
      formula: `W<sub>${at}</sub> + s Σ<sub>k</sub> B<sub>${i}k</sub> A<sub>k${j}</sub>`,
      numbers: () => `${digits(c.weights[j])} + ${bracket(low.value)}`,
    },
    {
      id: "next-w2",
      sym: `‖W′<sub>${i}</sub>‖² next`,
      title: "Square of the row's norm that the next step begins with",
      torch: `(W + scaling * B @ A)[${i}].norm() ** 2`,
      kind: "bound",
      value: square.value,
      recorded: next.weight_squared[i],
      roundings: square.roundings,
      bound: square.bound,
      from: ["W-still", "A-next", "B-next"],
      equation: "gram",
      lists: ["merged-norms"],
      formula: "as before, with the new A and B",
      numbers: () => square.terms.map(bracket).join(" + "),
    },
    {
      id: "next-g2",
      sym: `‖G<sub>${i}</sub>‖² next`,
      title: "Square of the gradient's norm that the next step begins with",
      torch: `(scaling * (B @ dA + dB @ A))[${i}].norm() ** 2`,
      kind: "bound",
      value: slope.value,
      recorded: next.gradient_squared[i],
      roundings: slope.roundings,
      bound: slope.bound,
      from: ["dA", "dB", "A-next", "B-next"],
      equation: "estimate",
      lists: ["gradient-norms"],
      formula: "dA and dB of this step, raw: before clipping",
      numbers: () => (slope.row ? sumOf(slope.row.map((g) => `${bracket(g)}²`)) : "0"),
    },
    {
      id: "next-v",
      sym: `v<sub>${i}</sub> next`,
      title: "Variance at the next step, at the full σ",
      torch: "",
      kind: "derived",
      value: v,
      from: ["next-w2", "next-g2"],
      equation: "variance",
      formula: "(σ² / n) (‖W′‖² + β ‖G‖²)",
      numbers: () =>
        `(${digits(run.sigma)}² / ${n}) · (${digits(square.value)} + ${digits(run.beta)} · ${digits(slope.value)})`,
    },
  ];
}

// All cells of an element, phase by phase.
function cellsOf(c) {
  return [noiseCells, forwardCells, lossCells, backwardCells, updateCells, nextCells].map((make) => make(c));
}
