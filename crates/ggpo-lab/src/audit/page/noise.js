// The cells of the noise: from the weights to eps.

function noiseCells(c) {
  const { i, j, n, r, s, state, pass, what, trace } = c,
    at = `${i},${j}`,
    cells = [];
  const recorded = (value) => (c.asRun ? value : undefined);
  const low = lowRankRow(state, i, s)[j],
    b = rowOf(state.b, i),
    a = column(state.a, j);
  cells.push({
    id: "W",
    sym: `W<sub>${at}</sub>`,
    title: "Frozen weight",
    torch: `layer.weight[${at}]`,
    kind: "hashed",
    value: c.weights[j],
    recorded: c.weights[j],
    from: [],
    equation: "lora",
    say: () =>
      `One number of the base model. Its bits are hashed before and after every step; the hash of its row must be that of the row on this page.`,
  });
  const before =
    c.step > 0
      ? updated(c.run, c.doc.steps[c.step - 1], trace.states[c.step - 1], c.previous, c.step - 1, i, j)
      : null;
  const adapter = (id, sym, title, torch, recorded, start, say) =>
    cells.push({
      id,
      sym,
      title,
      torch,
      kind: before || start ? "bits" : "input",
      value: before ? before[id].map((it) => it.next) : start || recorded,
      recorded,
      from: [],
      equation: before ? "adamw" : "lora",
      lists: before ? ["adamw"] : [],
      say: () => (before ? "What AdamW made of it in the step before, made again here." : say),
    });
  adapter(
    "B",
    `B<sub>${i}</sub>`,
    `Row ${i} of B`,
    `lora_B.weight[${i}]`,
    b,
    c.step ? null : b.map(() => 0),
    "B starts at zero, so that W′ = W at first.",
  );
  adapter(
    "A",
    `A<sub>·${j}</sub>`,
    `Column ${j} of A`,
    `lora_A.weight[:, ${j}]`,
    a,
    null,
    "A starts uniform within ±1/√n.",
  );
  cells.push({
    id: "BA",
    sym: `(s B A)<sub>${at}</sub>`,
    title: "The adapter's part",
    torch: `scaling * (B @ A)[${at}]`,
    kind: "bound",
    value: low.value,
    recorded: rowOf(pass.low_rank, i)[j],
    roundings: r + 2,
    bound: boundOf(low.size, r, r + 2),
    from: ["B", "A"],
    equation: "lora",
    lists: ["fill"],
    formula: `s · Σ<sub>k</sub> B<sub>${i}k</sub> A<sub>k${j}</sub>`,
    numbers: () => `${digits(s)} · (${products(b, a)})`,
  });
  const merged = c.weights[j] + low.value;
  cells.push({
    id: "merged",
    sym: `W′<sub>${at}</sub>`,
    title: "Merged weight",
    torch: `(W + scaling * B @ A)[${at}]`,
    kind: "bound",
    value: merged,
    recorded: rowOf(pass.merged, i)[j],
    roundings: r + 3,
    bound: boundOf(Math.abs(c.weights[j]) + low.size, r + 1, r + 3),
    from: ["W", "BA"],
    equation: "lora",
    lists: ["fill"],
    formula: `W<sub>${at}</sub> + (s B A)<sub>${at}</sub>`,
    numbers: () => `${digits(c.weights[j])} + ${bracket(low.value)}`,
  });
  const square = mergedSquare(state, i, s, c.weights);
  cells.push({
    id: "w2",
    sym: `‖W′<sub>${i}</sub>‖²`,
    title: "Square of the row's norm",
    torch: `(W + scaling * B @ A)[${i}].norm() ** 2`,
    kind: "bound",
    value: square.value,
    recorded: state.weight_squared[i],
    roundings: square.roundings,
    bound: square.bound,
    from: ["W", "B", "A"],
    equation: "gram",
    lists: ["merged-norms", "gram"],
    formula: `‖W<sub>${i}</sub>‖² + 2 s ⟨B<sub>${i}</sub>, (W Aᵀ)<sub>${i}</sub>⟩ + s² B<sub>${i}</sub> (A Aᵀ) B<sub>${i}</sub>ᵀ`,
    numbers: () => square.terms.map(bracket).join(" + "),
    say: () =>
      "The row of n merged numbers is never formed for this: the middle factors are m × r and r × r.",
  });
  const slope = gradientSquare(state, i, s, c.previous, c.run.gradient);
  const how = {
    adapters: "By equation 7, from dA and dB of the step before, with A and B as they are now.",
    exact: "From the exact gradient of the step before.",
    none: "This method has no gradient term.",
  };
  cells.push({
    id: "g2",
    sym: `‖G<sub>${i}</sub>‖²`,
    title: "Square of the gradient's norm",
    torch: `(scaling * (B @ dA + dB @ A))[${i}].norm() ** 2`,
    kind: "bound",
    value: slope.value,
    recorded: state.gradient_squared[i],
    roundings: slope.roundings,
    bound: slope.bound,
    from: ["B", "A"],
    equation: "estimate",
    lists: ["gradient-norms", "gram"],
    formula: `‖s (B dA + dB A)<sub>${i}</sub>‖² = s² u<sub>${i}</sub> M u<sub>${i}</sub>ᵀ, u<sub>${i}</sub> = [B<sub>${i}</sub>, dB<sub>${i}</sub>], M = [dA; A][dA; A]ᵀ`,
    numbers: () => (slope.row ? sumOf(slope.row.map((g) => `${bracket(g)}²`)) : "0"),
    say: () => (c.previous ? how[c.run.gradient] : "The first step has no gradient before it: 0."),
  });
  const scale = (what.sigma * c.factor) ** 2 / n,
    parts = [scale * state.weight_squared[i], scale * what.beta * state.gradient_squared[i]];
  const v = parts[0] + parts[1],
    share = v > 0 ? parts[1] / v : 0;
  cells.push({
    id: "v",
    sym: `v<sub>${i}</sub>`,
    title: "Variance of the row's noise",
    torch: `sigma**2 / n * (w2 + beta * g2)`,
    kind: "bound",
    value: v,
    recorded: recorded(pass.deviation[i] ** 2),
    roundings: 14,
    bound: boundOf(v, 2, 14),
    from: ["w2", "g2"],
    equation: "variance",
    lists: ["deviations"],
    formula: `(σ² / n) (‖W′<sub>${i}</sub>‖² + β ‖G<sub>${i}</sub>‖²)`,
    numbers: () =>
      `(${digits(what.sigma)}²${c.factor === 1 ? "" : ` · ${digits(c.factor)}²`} / ${n}) · (${digits(state.weight_squared[i])} + ${digits(what.beta)} · ${digits(state.gradient_squared[i])}) = ${digits(parts[0])} + ${digits(parts[1])}`,
    say: () =>
      `The gradient term is ${short(100 * share)} % of it. The program keeps the root of v<sub>${i}</sub>; its square stands beside this.`,
  });
  cells.push({
    id: "std",
    sym: `√v<sub>${i}</sub>`,
    title: "Standard deviation of the row's noise",
    torch: "v.sqrt()",
    kind: "bits",
    value: c.std,
    recorded: recorded(pass.deviation[i]),
    from: ["v", "w2", "g2"],
    equation: "variance",
    lists: ["deviations", "begin-step"],
    formula: `σ/√n · √(‖W′<sub>${i}</sub>‖² + β ‖G<sub>${i}</sub>‖²), each operation rounded to single precision`,
    numbers: () =>
      `${digits(f(what.sigma / Math.sqrt(n)))} · √${digits(add(state.weight_squared[i], mul(f(what.beta), state.gradient_squared[i])))}`,
  });
  return cells.concat(drawnCells(c));
}

function drawnCells(c) {
  const { i, j, n, pass, what, index } = c,
    at = `${i},${j}`,
    key = keyOf(BigInt(what.seed));
  const found = draw(key, c.layer, c.step, index),
    kept = pass.words[found.block - pass.first_block];
  const recorded = (value) => (c.asRun ? value : undefined),
    place = found.word < 2 ? [0, 1] : [2, 3];
  return [
    {
      id: "key",
      sym: "key",
      title: "Key of the generator",
      torch: "none: torch.Generator has a state, this has none",
      kind: "bits",
      value: key,
      recorded: recorded(pass.key),
      show: hex,
      from: [],
      equation: "philox",
      lists: ["stream", "mix"],
      formula: `mix(mix(seed) xor 1), 1 being the noise on weights`,
      numbers: () => `seed ${what.seed}`,
    },
    {
      id: "counter",
      sym: "counter",
      title: "Counter of the block",
      torch: "none",
      kind: "derived",
      value: found.counter,
      show: hex,
      from: [],
      equation: "philox",
      lists: ["block"],
      formula: `[block, block / 2³², layer, step]; element e lies in block 16 ⌊e/64⌋ + e mod 16, word ⌊(e mod 64)/16⌋`,
      numbers: () =>
        `e = ${i} · ${n} + ${j} = ${index}: block ${found.block}, word ${found.word}; layer ${c.layer}, step ${c.step}`,
    },
    {
      id: "words",
      sym: "words",
      title: "Random words of the block",
      torch: "none",
      kind: "bits",
      value: found.words,
      recorded: recorded(kept),
      show: hex,
      from: ["key", "counter"],
      equation: "philox",
      lists: ["philox"],
      formula: "philox(counter, key)",
      numbers: () => `words ${place[0]} and ${place[1]} make this element and its twin`,
    },
    {
      id: "z",
      sym: `z<sub>${at}</sub>`,
      title: "Standard normal number",
      torch: `torch.randn(m, n)[${at}]`,
      kind: "bits",
      value: found.z,
      recorded: recorded(rowOf(pass.z, i)[j]),
      from: ["words"],
      equation: "normal",
      lists: ["normal", "logarithm", "angle"],
      formula: `√(−2 ln u) · ${found.word % 2 ? "sin" : "cos"} φ${found.pair[1] & 1 ? " (swapped)" : ""}, from words ${place.join(" and ")}`,
      numbers: () =>
        `√${digits(minusTwoLn(found.pair[0]))} = ${digits(f(Math.sqrt(minusTwoLn(found.pair[0]))))}; sine and cosine of the eighth ${sinCosOfEighth(
          found.pair[1] & ~1,
        )
          .map(digits)
          .join(", ")}`,
    },
    {
      id: "eps",
      sym: `ε<sub>${at}</sub>`,
      title: "The noise of this element",
      torch: `(v.sqrt()[:, None] * z)[${at}]`,
      kind: "bits",
      value: add(0, mul(c.std, found.z)),
      recorded: recorded(rowOf(pass.eps, i)[j]),
      from: ["std", "z"],
      equation: "variance",
      lists: ["rows", "scaled"],
      formula: `√v<sub>${i}</sub> · z<sub>${at}</sub>`,
      numbers: () => `${digits(c.std)} · ${bracket(found.z)}`,
      say: () => "Stored nowhere: the backward pass makes it again from the same key and counter.",
    },
  ];
}
