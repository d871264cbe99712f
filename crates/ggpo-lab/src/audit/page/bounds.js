// Sums of products, and how far a sum in single precision can be from them.
//
// Every quantity here is a sum of elementary products, say x_j s B_ik A_kj. However the
// Rust code groups it (panels, threads, fused operations, the low-rank path apart), each
// elementary product goes through at most N roundings, of a relative size of at most
// u = 2^-24 each. So (Higham, Accuracy and Stability of Numerical Algorithms, 3.1)
//
//   | calculated - exact | <= gamma_N * (sum of the absolute values of the products),
//   gamma_N = N u / (1 - N u).
//
// N is counted from the operations of the Rust lines; where orders differ, the largest is
// taken. The page's own sums are in double precision: their bound is the same with
// 2^-53. Products below the normal numbers add at most 2^-149 for each operation.
const gamma = (n, u) => (n * u) / (1 - n * u);
const SINGLE = 2 ** -24,
  DOUBLE = 2 ** -53,
  SMALLEST = 2 ** -149;

// The sum of terms, with the sum of their sizes.
function total(terms) {
  let value = 0,
    size = 0;
  for (const term of terms) {
    value += term;
    size += Math.abs(term);
  }
  return { value, size, count: terms.length };
}
const boundOf = (size, count, roundings) =>
  size * (gamma(roundings, SINGLE) + gamma(roundings + count, DOUBLE)) + count * roundings * SMALLEST;

const range = (count) => Array.from({ length: count }, (_, k) => k);
const dot = (x, y) => x.reduce((sum, value, k) => sum + value * y[k], 0);
const sizeDot = (x, y) => x.reduce((sum, value, k) => sum + Math.abs(value * y[k]), 0);
const column = (matrix, j) => matrix.map((row) => row[j]);
const norm = (x) => Math.sqrt(dot(x, x));

// Rows and columns of a matrix that is whole, or of which those of the element are kept.
const isWhole = (slices) => Array.isArray(slices);
const rowOf = (slices, i) => (isWhole(slices) ? slices[i] : slices.row);
const columnOf = (slices, j) => (isWhole(slices) ? column(slices, j) : slices.column);

// Remembers what was made of a state and a row: all elements of the row need it.
function once(make) {
  const known = new WeakMap();
  return (state, i, ...more) => {
    if (!known.has(state)) known.set(state, new Map());
    const rows = known.get(state);
    if (!rows.has(i)) rows.set(i, make(state, i, ...more));
    return rows.get(i);
  };
}

// (s B A)_ij for all j of a row, with the sizes of the sums.
const lowRankRow = once((state, i, scaling) =>
  range(state.a[0].length).map((j) => total(rowOf(state.b, i).map((x, k) => scaling * x * state.a[k][j]))),
);

// ||W'_i||^2, its three terms by the Gram identity, and the bound.
const mergedSquare = once((state, i, scaling, weightRow) => {
  const low = lowRankRow(state, i, scaling),
    n = weightRow.length,
    r = state.a.length;
  const terms = [
    dot(weightRow, weightRow),
    2 * weightRow.reduce((sum, w, j) => sum + w * low[j].value, 0),
    low.reduce((sum, x) => sum + x.value * x.value, 0),
  ];
  const size = weightRow.reduce((sum, w, j) => sum + (Math.abs(w) + low[j].size) ** 2, 0);
  const roundings = n + 2 * r + 8;
  return {
    terms,
    value: terms[0] + terms[1] + terms[2],
    roundings,
    bound: boundOf(size, n * (r + 1) ** 2, roundings),
  };
});

// Row i of s (B dA + dB A), equation 7.
function estimateRow(state, pass, scaling, i) {
  const [b, db] = [rowOf(state.b, i), rowOf(pass.grad_b, i)];
  return range(state.a[0].length).map((j) => {
    const terms = b.map((x, k) => scaling * x * pass.grad_a[k][j]);
    return total(terms.concat(db.map((x, k) => scaling * x * state.a[k][j])));
  });
}

// ||G_i||^2 by the estimate in use, with its bound. `pass` is the step before.
const gradientSquare = once((state, i, scaling, pass, kind) => {
  if (!pass || kind === "none") return { value: 0, roundings: 0, bound: 0 };
  const n = state.a[0].length,
    r = state.a.length;
  if (kind === "exact") {
    const row = rowOf(pass.gradient, i),
      { value, size } = total(row.map((g) => g * g));
    return { value, row, roundings: n + 1, bound: boundOf(size, n, n + 1) };
  }
  const found = estimateRow(state, pass, scaling, i),
    row = found.map((g) => g.value);
  const value = dot(row, row);
  const size = found.reduce((sum, g) => sum + g.size ** 2, 0),
    roundings = n + 4 * r + 7;
  return { value, row, roundings, bound: boundOf(size, n * 4 * r * r, roundings) };
});

// y_ti = sum over j of x_tj (W_ij + (s B A)_ij + eps_ij) + b_i.
function product(x, weightRow, low, eps, bias, r) {
  const parts = {
    weight: dot(x, weightRow),
    adapter: dot(
      x,
      low.map((l) => l.value),
    ),
    noise: dot(x, eps),
    bias,
  };
  const size =
    Math.abs(bias) +
    sizeDot(x, weightRow) +
    sizeDot(
      x,
      low.map((l) => l.size),
    ) +
    sizeDot(x, eps);
  const n = x.length,
    roundings = n + r + 8;
  const value = parts.weight + parts.adapter + parts.noise + parts.bias;
  return { parts, value, roundings, bound: boundOf(size, n * (r + 2) + 1, roundings) };
}

// G_ij = sum over t of dy_ti x_tj.
function gradient(dy, x) {
  const { value, size } = total(dy.map((d, t) => d * x[t]));
  const roundings = dy.length + 2;
  return { value, roundings, bound: boundOf(size, dy.length, roundings) };
}

// dA_kj = s sum over t of (dy B)_tk x_tj and dB_ik = s sum over t of dy_ti (x A^T)_tk,
// for all k.
function factorGradients(inputs, state, scaling, i, j, rows) {
  const xs = columnOf(inputs.xs, j),
    dys = columnOf(inputs.dys, i),
    n = state.a[0].length;
  const tokens = xs.length,
    r = state.a.length;
  let [through, sizes] = [inputs.through, inputs.through_absolute];
  if (!through) [through, sizes] = throughFactors(inputs, state);
  const of = (weights, part, other) =>
    range(r).map((k) => {
      const factors = [weights, column(through[part], k)],
        value = scaling * dot(...factors);
      const size = scaling * sizeDot(weights, column(sizes[part], k));
      const roundings = other + tokens + 5;
      return { value, factors, roundings, bound: boundOf(size, tokens * other, roundings) };
    });
  return { a: of(xs, 0, rows), b: of(dys, 1, n) };
}

// dy B and x A^T, T x r, and the same of absolute values.
const known = new WeakMap();
function throughFactors(inputs, state) {
  if (known.has(inputs)) return known.get(inputs);
  const products = (left, right, of) => left.map((row) => right.map((other) => of(row, other)));
  const bs = range(state.a.length).map((k) => column(state.b, k));
  const both = [dot, sizeDot].map((of) => [products(inputs.dys, bs, of), products(inputs.xs, state.a, of)]);
  known.set(inputs, both);
  return both;
}

// One element under AdamW (optimizer.rs), each operation rounded once.
function adamw(settings, t, rate, w, m, v, g) {
  const one = 1 - settings.beta1,
    two = 1 - settings.beta2;
  const first = add(m, mul(f(one), add(g, -m)));
  const second = add(mul(f(settings.beta2), v), mul(mul(f(two), g), g));
  const root = f(Math.sqrt(1 - settings.beta2 ** t)),
    size = f(rate / (1 - settings.beta1 ** t));
  const denominator = add(f(f(Math.sqrt(second)) / root), f(settings.eps));
  const kept = mul(f(1 - rate * settings.weight_decay), w);
  return { first, second, size, denominator, next: add(kept, -f(mul(size, first) / denominator)) };
}

// The factor of clipping, none being 1.
const clipFactor = (limit, length) => (limit === null ? 1 : Math.min(1, f(limit / (length + 1e-6))));
