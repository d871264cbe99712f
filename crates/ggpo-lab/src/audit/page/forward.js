// The cells of the forward pass and of the loss.

function forwardCells(c) {
  const { i, j, pass, n, r } = c,
    at = `${i},${j}`,
    t = pass.inputs.token,
    x = pass.inputs.x;
  const low = lowRankRow(c.state, i, c.s),
    y = product(x, c.weights, low, c.eps, c.bias, r),
    merged = rowOf(pass.merged, i)[j];
  const spread = c.std * norm(x);
  return [
    {
      id: "noisy",
      sym: `W′<sub>${at}</sub> + ε<sub>${at}</sub>`,
      title: "The weight that acts",
      torch: `(W + scaling * B @ A + eps)[${at}]`,
      kind: "bits",
      value: add(merged, c.eps[j]),
      recorded: c.asRun ? rowOf(pass.noisy, i)[j] : undefined,
      from: ["merged", "eps"],
      equation: "product",
      lists: ["fill"],
      formula: `W′<sub>${at}</sub> + ε<sub>${at}</sub>`,
      numbers: () => `${digits(merged)} + ${bracket(c.eps[j])}`,
      say: () =>
        "Made in scratch memory, a few rows at a time, on the way to the product. W itself is only read.",
    },
    {
      id: "x",
      sym: `x<sub>${t},${j}</sub>`,
      title: `Input of the layer at token ${t}`,
      torch: `x.flatten(0, -2)[${t}, ${j}]`,
      kind: "input",
      value: x[j],
      recorded: x[j],
      from: [],
      equation: "",
      say: () => "What the layers below give, all of them under noise of their own.",
    },
    {
      id: "part",
      sym: `x<sub>${t},${j}</sub> ε<sub>${at}</sub>`,
      title: "Its share in one dot product",
      torch: `x[${t}, ${j}] * eps[${at}]`,
      kind: "derived",
      value: x[j] * c.eps[j],
      from: ["x", "eps"],
      equation: "product",
      formula: `x<sub>${t},${j}</sub> · ε<sub>${at}</sub>`,
      numbers: () => `${digits(x[j])} · ${bracket(c.eps[j])}`,
    },
    {
      id: "noise-part",
      sym: `⟨x<sub>${t}</sub>, ε<sub>${i}</sub>⟩`,
      title: "What all noise of the row adds",
      torch: `x[${t}] @ eps[${i}]`,
      kind: "derived",
      value: y.parts.noise,
      from: ["part"],
      equation: "product",
      formula: `Σ<sub>j</sub> x<sub>${t}j</sub> ε<sub>${i}j</sub>`,
      numbers: () => products(x, c.eps),
      say: () =>
        `Its standard deviation is √v<sub>${i}</sub> ‖x<sub>${t}</sub>‖ = ${short(spread)}: this draw is ${spread > 0 ? short(y.parts.noise / spread) : 0} of them.`,
    },
    {
      id: "y",
      sym: `y<sub>${t},${i}</sub>`,
      title: `Output ${i} of the layer at token ${t}`,
      torch: `F.linear(x, W + scaling * B @ A + eps, bias)[${t}, ${i}]`,
      kind: "bound",
      value: y.value,
      recorded: c.asRun ? pass.inputs.y[i] : undefined,
      roundings: y.roundings,
      bound: y.bound,
      from: ["noisy", "x", "noise-part"],
      equation: "product",
      lists: ["fill"],
      formula: `Σ<sub>j</sub> x<sub>${t}j</sub> (W<sub>${i}j</sub> + (s B A)<sub>${i}j</sub> + ε<sub>${i}j</sub>) + b<sub>${i}</sub>`,
      numbers: () =>
        `${digits(y.parts.weight)} + ${bracket(y.parts.adapter)} + ${bracket(y.parts.noise)} + ${bracket(y.parts.bias)}`,
    },
  ];
}

function lossCells(c) {
  const step = c.record,
    cells = [],
    logits = step.logits;
  const loss = {
    id: "loss",
    sym: "L(W′ + ε)",
    title: "The loss of the step",
    torch: "F.cross_entropy(logits, targets)",
    kind: "input",
    value: step.loss,
    recorded: step.loss,
    from: ["y"],
    equation: "loss",
    say: () => "Where the gradient of this step is taken.",
  };
  if (logits) {
    const rows = logits.rows.map((row, k) => {
      const top = Math.max(...row),
        sum = row.reduce((sum, z) => sum + Math.exp(z - top), 0);
      return {
        value: top + Math.log(sum) - row[logits.targets[k]],
        size: Math.abs(top) + Math.abs(Math.log(sum)) + Math.abs(row[logits.targets[k]]) + 1,
      };
    });
    const classes = logits.rows[0].length,
      count = rows.length,
      roundings = classes + count + 12;
    const { value } = total(rows.map((row) => row.value / count)),
      { size } = total(rows.map((row) => row.size / count));
    Object.assign(loss, {
      kind: "bound",
      value,
      roundings,
      bound: boundOf(size, count, roundings),
      formula: `(1/${count}) Σ (ln Σ<sub>c</sub> exp z<sub>c</sub> − z<sub>target</sub>)`,
      numbers: () => sumOf(rows.map((row) => digits(row.value))),
      note: "The exponential and the logarithm are each within 2 units in the last place: they count as 4 roundings each.",
    });
  }
  cells.push(loss);
  cells.push({
    id: "without",
    sym: "L(W′)",
    title: "The same loss without noise",
    torch: "the same forward pass, eps = 0",
    kind: "input",
    value: step.loss_without,
    recorded: step.loss_without,
    from: [],
    equation: "",
    say: () => "The trainer's own step at σ = 0, from the same state: plain LoRA, bit for bit.",
  });
  cells.push({
    id: "rise",
    sym: "L(W′ + ε) − L(W′)",
    title: "What the noise costs in this step",
    torch: "",
    kind: "derived",
    value: step.loss - step.loss_without,
    from: ["loss", "without"],
    equation: "",
    numbers: () => `${digits(step.loss)} − ${bracket(step.loss_without)}`,
    formula: "measured, in single precision",
  });
  const found = step.curvature.found;
  if (!found)
    return cells.concat({
      id: "second",
      sym: "½ ε·Hε",
      title: "The second order",
      torch: "",
      kind: "none",
      value: "not calculated",
      from: [],
      equation: "",
      say: () => `Not calculated: ${step.curvature.skipped}.`,
    });
  const rest = found.rise - found.first - found.second,
    mean = found.mean_rise,
    expected = found.expected;
  cells.push({
    id: "second",
    sym: "⟨G, ε⟩ + ½ ε·Hε",
    title: "The same to second order",
    torch: "torch.func.hvp",
    kind: "derived",
    value: found.first + found.second,
    from: ["rise"],
    equation: "taylor",
    formula: "slope along ε, and curvature along ε, in double precision",
    numbers: () => `${digits(found.first)} + ${bracket(found.second)}`,
    say: () =>
      `Measured in double precision: ${digits(found.rise)}. The rest, third order and above, is ${short(rest)}.`,
  });
  cells.push({
    id: "expected",
    sym: "½ Σ v<sub>i</sub> tr H<sub>ii</sub>",
    title: "The rise to expect over many draws",
    torch: "",
    kind: "derived",
    value: expected.value,
    from: ["v", "second"],
    equation: "taylor",
    formula: "half the traces of the Hessian's blocks of rows, weighted by their variances",
    numbers: () =>
      expected.standard_error === null
        ? "exact, from a Hessian-vector product for every weight"
        : `± ${short(expected.standard_error)}, from ${expected.samples} random vectors`,
    say: () =>
      `Measured over ${mean.samples} fresh pairs ±ε: ${short(mean.value)} ± ${short(mean.standard_error)}.`,
  });
  return cells;
}
