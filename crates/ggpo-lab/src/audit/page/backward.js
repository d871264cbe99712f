// The cells of the backward pass.

function backwardCells(c) {
  const { i, j, pass, state, s, r } = c,
    at = `${i},${j}`,
    cells = [],
    rows = c.facts.rows;
  const dys = columnOf(pass.inputs.dys, i),
    xs = columnOf(pass.inputs.xs, j),
    g = gradient(dys, xs);
  if (pass.gradient)
    cells.push({
      id: "G",
      sym: `G<sub>${at}</sub>`,
      title: "Gradient of the merged weight",
      torch: `W_merged.grad[${at}]`,
      kind: "bound",
      value: g.value,
      recorded: rowOf(pass.gradient, i)[j],
      roundings: g.roundings,
      bound: g.bound,
      from: ["loss", "x"],
      equation: "chain",
      lists: [],
      formula: `Σ<sub>t</sub> dy<sub>t${i}</sub> x<sub>t${j}</sub>, over ${dys.length} tokens`,
      numbers: () => products(dys, xs),
      say: () =>
        "Taken at W′ + ε. Training does not need it: it is calculated for this page, and to judge equation 7.",
    });
  const found = factorGradients(pass.inputs, state, s, i, j, rows);
  const factor = (id, sym, title, torch, parts, recorded, formula, equation) =>
    cells.push({
      id,
      sym,
      title,
      torch,
      kind: "bound",
      value: parts.map((p) => p.value),
      recorded,
      roundings: parts[0].roundings,
      bound: parts.map((p) => p.bound),
      from: ["G", "A", "B"],
      equation,
      lists: ["backward"],
      formula,
      numbers: () => eachK(parts.map((p) => `${digits(s)} · (${products(...p.factors)})`)),
    });
  factor(
    "dA",
    `dA<sub>·${j}</sub>`,
    `Gradient of column ${j} of A`,
    `lora_A.weight.grad[:, ${j}]`,
    found.a,
    column(pass.grad_a, j),
    `s Σ<sub>t</sub> (dy B)<sub>tk</sub> x<sub>t${j}</sub>, which is s (Bᵀ G)<sub>k${j}</sub>, for k = 0 … ${r - 1}`,
    "chain",
  );
  factor(
    "dB",
    `dB<sub>${i}</sub>`,
    `Gradient of row ${i} of B`,
    `lora_B.weight.grad[${i}]`,
    found.b,
    rowOf(pass.grad_b, i),
    `s Σ<sub>t</sub> dy<sub>t${i}</sub> (x Aᵀ)<sub>tk</sub>, which is s (G Aᵀ)<sub>${i}k</sub>, for k = 0 … ${r - 1}`,
    "chain",
  );
  const estimate = estimateRow(state, pass, s, i)[j].value;
  cells.push({
    id: "estimate",
    sym: `s (B dA + dB A)<sub>${at}</sub>`,
    title: "The gradient as the adapters see it",
    torch: `(scaling * (B @ dA + dB @ A))[${at}]`,
    kind: "derived",
    value: estimate,
    from: ["dA", "dB", "A", "B"],
    equation: "estimate",
    formula: `s Σ<sub>k</sub> (B<sub>${i}k</sub> dA<sub>k${j}</sub> + dB<sub>${i}k</sub> A<sub>k${j}</sub>)`,
    numbers: () =>
      `${digits(s)} · (${sumOf(
        rowOf(state.b, i)
          .map((b, k) => `${bracket(b)} · ${bracket(pass.grad_a[k][j])}`)
          .concat(rowOf(pass.grad_b, i).map((b, k) => `${bracket(b)} · ${bracket(state.a[k][j])}`)),
      )})`,
    say: () =>
      pass.gradient
        ? `By the chain rule this is s² (B Bᵀ G + G Aᵀ A): a projection of G, scaled. Here it is ${short(estimate / rowOf(pass.gradient, i)[j])} times G<sub>${at}</sub>.`
        : "",
  });
  return cells;
}
