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
  if (f(x) === x)
    for (let p = 1; p <= 9; p++)
      if (f(Number(x.toPrecision(p))) === x) return String(Number(x.toPrecision(p)));
  return String(Number(x.toPrecision(9)));
}
const short = (x) => String(Number(x.toPrecision(4)));
const bracket = (x) => (x < 0 ? `(${digits(x)})` : digits(x));
function sumOf(terms) {
  const shown =
    terms.length <= 8
      ? terms
      : [...terms.slice(0, 3), `… ${terms.length - 4} more …`, terms[terms.length - 1]];
  return shown.join(" + ");
}
// One line for each k of a column of A or a row of B.
const eachK = (lines) => lines.map((line, k) => `<span class="k">k = ${k}:</span> ${line}`).join("<br>= ");
const products = (x, y) => sumOf(x.map((value, k) => `${bracket(value)} · ${bracket(y[k])}`));

// What the element is part of, at a step: everything a cell may need.
function contextOf(doc, place, chosen) {
  const { step, layer, row: i, column: j } = place;
  const trace = doc.traces.find((it) => it.layer === layer);
  const pass = trace.passes[step],
    state = trace.states[step],
    run = doc.run;
  const what = { sigma: run.sigma, beta: run.beta, seed: run.seed, ...chosen };
  const c = {
    doc,
    run,
    i,
    j,
    step,
    layer,
    trace,
    pass,
    state,
    what,
    asRun: what.sigma === run.sigma && what.beta === run.beta && what.seed === run.seed,
    facts: doc.layers[layer],
    record: doc.steps[step],
    next: trace.states[step + 1],
    previous: step > 0 ? trace.passes[step - 1] : null,
    s: run.scaling,
    weights: rowOf(trace.weight, i),
    bias: trace.bias ? trace.bias[i] : 0,
    factor: doc.steps[step].sigma_factor,
  };
  c.n = c.facts.columns;
  c.r = c.state.a.length;
  c.index = i * c.n + j;
  c.key = c.asRun ? pass.key : keyOf(BigInt(what.seed));
  c.std = deviation(what.sigma, what.beta, c.factor, c.n, state.weight_squared[i], state.gradient_squared[i]);
  c.zs = range(c.n).map((other) =>
    c.asRun ? rowOf(pass.z, i)[other] : draw(c.key, layer, step, i * c.n + other).z,
  );
  c.eps = c.asRun ? rowOf(pass.eps, i) : c.zs.map((z) => add(0, mul(c.std, z)));
  return c;
}
