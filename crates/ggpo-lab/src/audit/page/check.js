// What is checked, and how often it agrees.

// The numbers of a page. Those that the program keeps in single precision are written
// with the fewest digits that give them back, and rounded to it again here.
const WIDE = ["through", "through_absolute", "words", "key", "layer", "first_block", "token"];
function load(text) {
  const single = (value) =>
    typeof value === "number" ? f(value) : value && typeof value === "object" ? narrow(value) : value;
  const narrow = (value) => {
    for (const key of Object.keys(value)) if (!WIDE.includes(key)) value[key] = single(value[key]);
    return value;
  };
  const doc = JSON.parse(text);
  doc.traces.forEach(narrow);
  doc.steps.forEach((step) => step.logits && narrow(step.logits.rows));
  doc.run.scaling = f(doc.run.scaling);
  return doc;
}

const list = (x) => (Array.isArray(x) ? x : x === undefined || x === null ? [] : [x]);

// Whether the numbers of a cell agree with the recorded ones: true, false, or none where
// there is nothing to compare.
function agrees(cell) {
  const values = list(cell.value),
    recorded = list(cell.recorded),
    bounds = list(cell.bound);
  if (!["bits", "bound"].includes(cell.kind) || cell.recorded === undefined) return [];
  return values.map((value, k) => {
    if (typeof recorded[k] !== "number" || !Number.isFinite(value)) return false;
    return cell.kind === "bits"
      ? Object.is(value, recorded[k])
      : Math.abs(value - recorded[k]) <= bounds[Math.min(k, bounds.length - 1)];
  });
}

// Cells that belong to the row, the column or the layer of an element, or to the step:
// where all elements are checked, they are checked once.
const OF_ROW = /^(B|w2|g2|v|std|dB|B-.*|noise-part|y|next-w2|next-g2|sd|flat)$/;
const OF_COLUMN = /^(A|dA|A-.*)$/,
  OF_LAYER = /^key$/,
  OF_STEP = /^loss$/;
function isFirst(cell, layer, i, j) {
  if (OF_ROW.test(cell.id)) return j === 0;
  if (OF_COLUMN.test(cell.id)) return i === 0;
  if (OF_LAYER.test(cell.id)) return i === 0 && j === 0;
  return OF_STEP.test(cell.id) ? layer === 0 && i === 0 && j === 0 : true;
}

// A tally of checks, by what they are about.
function tally() {
  const of = new Map();
  const one = (name, ok, where) => {
    if (!of.has(name)) of.set(name, { passed: 0, failed: 0, first: null });
    const entry = of.get(name);
    entry[ok ? "passed" : "failed"] += 1;
    if (!ok && !entry.first) entry.first = where || "";
  };
  const sum = (key) => [...of.values()].reduce((sum, entry) => sum + entry[key], 0);
  return { of, one, passed: () => sum("passed"), failed: () => sum("failed") };
}

// Sums in double precision of `count` numbers agree within this share of their size.
const near = (x, y, count) =>
  Math.abs(x - y) <= gamma(count + 8, DOUBLE) * Math.max(Math.abs(x), Math.abs(y)) + SMALLEST;

function checkLayers(doc, tallied) {
  doc.traces.forEach((trace) => {
    const rows = isWhole(trace.weight) ? trace.weight : [trace.weight.row],
      flat = rows.flat(),
      name = doc.layers[trace.layer].name;
    tallied.one("Bits of W", digestOfFloats(flat) === trace.weight_bits, name);
    doc.steps.forEach((step, k) => {
      const layer = step.layers[trace.layer],
        state = trace.states[k],
        pass = trace.passes[k],
        where = `${name}, step ${k}`;
      if (doc.whole) tallied.one("Bits of W", layer.weight_before === trace.weight_bits, where);
      const squares = state.weight_squared,
        slopes = state.gradient_squared.map((g) => mul(f(doc.run.beta), g));
      const sum = (x) => x.reduce((total, y) => total + y, 0),
        all = sum(squares) + sum(slopes);
      tallied.one("Norm of a layer", near(layer.weight_norm ** 2, sum(squares), squares.length), where);
      tallied.one(
        "Gradient share",
        near(layer.gradient_share, sum(slopes) === 0 ? 0 : sum(slopes) / all, 2 * squares.length),
        where,
      );
      const variances = pass.deviation.map((std) => std * std);
      if (layer.noise)
        tallied.one(
          "Variance of the noise",
          near(layer.noise.theoretical, sum(variances) / variances.length, variances.length),
          where,
        );
      if (layer.noise && doc.whole) {
        const added = pass.noisy.map((row, i) => row.map((w, j) => (w - pass.merged[i][j]) ** 2)),
          count = added.length * added[0].length;
        const chi = sum(added.map((row, i) => (variances[i] > 0 ? sum(row) / variances[i] : 0)));
        tallied.one("Variance of the noise", near(layer.noise.chi_square, chi, 2 * count), where);
        tallied.one(
          "Variance of the noise",
          near(layer.noise.empirical, sum(added.map(sum)) / count, 2 * count),
          where,
        );
      }
    });
  });
  doc.steps.forEach((step, k) => {
    tallied.one("Bits of what is frozen", step.unchanged === true, `step ${k}`);
    step.layers.forEach((layer) => {
      const where = `${layer.layer}, step ${k}`;
      tallied.one("Bits of W", layer.weight_before === layer.weight_after, where);
      if (layer.ratio !== null)
        tallied.one(
          "Ratio of gradient norms",
          near(layer.ratio, layer.gradient_by_adapters / layer.gradient_exact, 4),
          where,
        );
    });
    const found = step.curvature.found;
    if (found && found.by_layer)
      tallied.one(
        "Second order",
        near(
          found.expected.value,
          found.by_layer.reduce((x, y) => x + y, 0),
          found.by_layer.length * 4,
        ),
        `step ${k}`,
      );
  });
}

// Checks everything: the text against its digest, the layers, and the cells of every
// element, or of the followed one.
function checkAll(doc, text, digest) {
  const tallied = tally();
  tallied.one("Digest of all numbers", digestOfText(text) === digest);
  checkLayers(doc, tallied);
  doc.traces.forEach((trace) => {
    const facts = doc.layers[trace.layer],
      whole = doc.whole,
      { row, column } = doc.element;
    const rows = whole ? range(facts.rows) : [row],
      columns = whole ? range(facts.columns) : [column];
    doc.steps.forEach((_, step) =>
      rows.forEach((i) =>
        columns.forEach((j) => {
          const c = contextOf(doc, { step, layer: trace.layer, row: i, column: j }),
            cells = cellsOf(c).flat().concat(readingCells(c));
          cells.forEach((cell) => {
            if (whole && !isFirst(cell, trace.layer, i, j)) return;
            agrees(cell).forEach((ok) =>
              tallied.one(
                cell.title.replace(/ ?\b\d+\b/g, "").replace(" at token", ""),
                ok,
                `${facts.name}[${i}, ${j}], step ${step}`,
              ),
            );
          });
        }),
      ),
    );
  });
  return tallied;
}
