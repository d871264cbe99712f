// The same element at the same step under other readings of the method.

function readingsOf(c) {
  const { i, j, n, s, state, pass, what, facts, run } = c,
    at = `${i},${j}`,
    z = c.zs[j],
    m = facts.rows,
    seen = pass.readings;
  const own = c.eps[j],
    b = rowOf(state.b, i),
    rows = [];
  const deviates = (name, formula, numbers, std, check) =>
    rows.push({ name, formula, numbers, std, value: mul(f(std), z), ...check });
  rows.push({
    name: "This run",
    formula: "ε = √v<sub>i</sub> z, v<sub>i</sub> = (σ²/n)(‖W′<sub>i</sub>‖² + β‖G<sub>i</sub>‖²)",
    std: c.std,
    value: own,
    numbers:
      "one deviation for each row; the gradient flows through ε to the layers below, v<sub>i</sub> counts as a constant",
  });
  const paper = deviation(what.sigma, what.beta, 1, n, state.weight_squared[i], state.gradient_squared[i]);
  deviates(
    "The paper, equations 6 and 8",
    "the same at the full σ",
    c.factor === 1 ? "what this run does" : `this run's schedule has the factor ${short(c.factor)}`,
    paper,
    {},
  );
  const product = range(n).map((other) => total(b.map((x, k) => x * state.a[k][other])));
  const square = product.reduce((sum, x) => sum + x.value ** 2, 0),
    size = product.reduce((sum, x) => sum + x.size ** 2, 0);
  const sd =
      (what.sigma * Math.sqrt(facts.mean_norm ** 2 + square) + what.beta * state.gradient_squared[i]) /
      Math.sqrt(m),
    roundings = m + n + 2 * c.r + 24;
  deviates(
    "The form in circulation (sd-scripts)",
    "(σ √(w² + ‖(B A)<sub>i</sub>‖²) + β‖G<sub>i</sub>‖²) / √m, w the mean of ‖W<sub>i</sub>‖",
    "a sum where the paper has the root of a sum of squares; outputs m for inputs n; one norm for all rows; no cross term, no s; no gradient flows through ε",
    sd,
    {
      kind: "bound",
      title: "Deviation in the form of sd-scripts",
      id: "sd",
      checked: sd,
      recorded: c.asRun && m <= 1000 ? seen.sd_scripts[i] : undefined,
      bound: boundOf(
        sd * (size > 0 ? Math.sqrt((facts.mean_norm ** 2 + size) / (facts.mean_norm ** 2 + square)) : 1),
        1,
        roundings,
      ),
    },
  );
  const ramp = 0.5 * (1 - Math.cos((Math.PI * c.step) / run.steps)),
    flat = deviation(what.sigma, 0, ramp, n, state.weight_squared[i], 0);
  deviates(
    "Flat-LoRA",
    "√(σ<sub>t</sub>²/n) ‖W′<sub>i</sub>‖, σ<sub>t</sub> = σ (1 − cos(π t / T)) / 2",
    `no gradient term; at t = ${c.step} of T = ${run.steps} the factor is ${short(ramp)}`,
    flat,
    {
      kind: "bound",
      title: "Deviation by Flat-LoRA",
      id: "flat",
      checked: flat,
      recorded: c.asRun ? seen.flat_lora[i] : undefined,
      bound: boundOf(flat, 1, 4),
    },
  );
  const move =
    seen.mgpo &&
    range(c.r).reduce((sum, k) => {
      const [ea, eb] = [columnOf(seen.mgpo[0], j)[k], rowOf(seen.mgpo[1], i)[k]];
      return sum + s * (eb * state.a[k][j] + b[k] * ea + eb * ea);
    }, 0);
  rows.push({
    name: "LoRA-MGPO, the paper",
    formula: "ρ m / ‖m‖ / ḡ on A and B: what it moves W′ by",
    numbers: seen.mgpo
      ? "along the momentum of the gradients: nothing is random"
      : "nothing at the first step: there is no momentum yet",
    std: null,
    value: move === null ? 0 : move,
  });
  const merged = seen.mgpo_merged && dot(rowOf(seen.mgpo_merged[0], i), columnOf(seen.mgpo_merged[1], j));
  rows.push({
    name: "LoRA-MGPO, its authors' trainer",
    formula: "−ρ D / ‖D‖ · min(1/ḡ, 10), D = s (m<sub>B</sub> A + B m<sub>A</sub>)",
    numbers: seen.mgpo_merged ? "on W′, down the optimiser's momentum" : "nothing at the first step",
    std: null,
    value: merged === null ? 0 : merged,
  });
  if (pass.gradient && c.std > 0) {
    const factor =
        dot(c.eps, rowOf(pass.gradient, i)) /
        (state.weight_squared[i] + what.beta * state.gradient_squared[i]),
      w = rowOf(pass.merged, i)[j];
    rows.push({
      name: "Reparameterised",
      formula: "the same ε, differentiated through ‖W′<sub>i</sub>‖",
      std: c.std,
      value: own,
      numbers: `G<sub>${at}</sub> gains c<sub>i</sub> W′<sub>${at}</sub> = ${digits(factor * w)}, c<sub>i</sub> = ⟨ε<sub>i</sub>, G<sub>i</sub>⟩ / (‖W′<sub>i</sub>‖² + β‖G<sub>i</sub>‖²) = ${digits(factor)}`,
    });
  }
  return rows;
}

// Those of them that are checked, as cells.
const readingCells = (c) =>
  readingsOf(c)
    .filter((row) => row.id)
    .map((row) => ({ ...row, value: row.checked }));
