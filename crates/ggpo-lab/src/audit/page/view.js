// What a person sees and does.

const $ = (id) => document.getElementById(id);
const MARKS = {
  agrees: (cell) => (cell.kind === "bits" ? "✓ bit for bit" : "✓ within the bound"),
  differs: () => "✗ differs",
  hashed: () => "✓ bits hashed",
  input: () => "recorded",
  chosen: () => "by your choice",
  calculated: () => "calculated here",
  none: () => "measured",
};
function markOf(cell, asRecorded) {
  const found = agrees(cell);
  if (found.length) return found.every(Boolean) ? "agrees" : "differs";
  if (["input", "hashed"].includes(cell.kind)) return cell.kind;
  if (["bits", "bound"].includes(cell.kind) && !asRecorded) return "chosen";
  return cell.kind === "none" ? "none" : "calculated";
}
const text = (x) => (typeof x === "function" ? x() : x);
const shown = (cell, x) =>
  list(x)
    .map((value) => (typeof value === "number" ? (cell.show || digits)(value) : value))
    .join(", ");
const escape = (x) => x.replace(/&/g, "&amp;").replace(/</g, "&lt;");

const page = { doc: null, listings: {}, place: null, phase: 0, chosen: {}, cells: [], open: new Set() };

function cellHtml(cell, known, asRecorded) {
  const mark = markOf(cell, asRecorded),
    lines = [],
    fact = (name, value) => value && lines.push(`<div><dt>${name}</dt><dd>${value}</dd></div>`);
  const value = shown(cell, cell.value);
  fact(
    "Recorded",
    cell.kind === "bits" || cell.kind === "bound"
      ? cell.recorded === undefined
        ? "nothing: the setting is not that of the run"
        : shown(cell, cell.recorded)
      : "",
  );
  if (cell.kind === "bound" && cell.recorded !== undefined) {
    const off = list(cell.value).map((x, k) => Math.abs(x - list(cell.recorded)[k]));
    fact("Distance", `${off.map(short).join(", ")}; at most ${list(cell.bound).map(short).join(", ")}`);
    fact(
      "Bound",
      `γ<sub>${cell.roundings}</sub> times the sum of the sizes of the products: each passes through at most ${cell.roundings} roundings`,
    );
  }
  if (cell.kind === "bits") fact("Bound", "none: the bits must be the same");
  fact("In PyTorch", cell.torch && `<code>${escape(cell.torch)}</code>`);
  fact("Equation", equationLink(cell.equation));
  const links = cell.from
    .filter((id) => known.has(id))
    .map((id) => `<a href="#cell-${id}">${known.get(id).sym}</a>`);
  fact("Made of", links.join(" "));
  const sources = (cell.lists || [])
    .map((id) => page.listings[id])
    .map(
      (it) =>
        `<details class="source"><summary>The Rust lines: ${it.file}, line ${it.line}</summary><pre tabindex="0"><code>${escape(it.code)}</code></pre></details>`,
    );
  const formula = cell.formula
    ? `<p class="formula">${cell.sym} = ${text(cell.formula)}${cell.numbers ? `<br>= ${text(cell.numbers)}` : ""}${cell.kind === "none" ? "" : `<br>= <strong>${value}</strong>`}</p>`
    : "";
  return `<details class="cell ${mark}" id="cell-${cell.id}" data-mark="${mark}"${page.open.has(cell.id) ? " open" : ""}>
<summary><span class="sym">${cell.sym}</span><span class="what">${cell.title}</span><span class="value">${value}</span><span class="mark">${MARKS[mark](cell)}</span></summary>
<div class="inside">${cell.say ? `<p>${text(cell.say)}</p>` : ""}${formula}${cell.note ? `<p>${cell.note}</p>` : ""}<dl>${lines.join("")}</dl>${sources.join("")}</div></details>`;
}

const INTRO = [
  "Before the pass: how much noise the row gets, and which.",
  "The noise is added to a few rows of the weight at a time, on the way to the product.",
  "What the noise does to the loss, measured and predicted.",
  "The same noise is made again, and the gradients of A and B are taken where it puts the weight.",
  "AdamW changes A and B. The frozen weight stays as it is.",
  "What the next step begins with.",
];
const CHAIN = [
  "W",
  "BA",
  "merged",
  "w2",
  "g2",
  "v",
  "words",
  "z",
  "eps",
  "noisy",
  "y",
  "loss",
  "G",
  "dA",
  "dB",
  "A-next",
  "B-next",
  "next-w2",
  "next-g2",
];

function drawCells() {
  const c = contextOf(page.doc, page.place, page.chosen),
    phases = cellsOf(c),
    known = new Map(phases.flat().map((cell) => [cell.id, cell]));
  page.cells = phases;
  $("phases").innerHTML = phases
    .map(
      (
        cells,
        k,
      ) => `<section class="phase" id="phase-${k}" aria-labelledby="phase-title-${k}"${k === page.phase ? ' data-current="true"' : ""}>
<h3 id="phase-title-${k}" tabindex="-1">${k + 1}. ${PHASES[k]}</h3><p>${INTRO[k]}</p>${cells.map((cell) => cellHtml(cell, known, c.asRun)).join("")}</section>`,
    )
    .join("");
  $("chain").innerHTML = CHAIN.filter((id) => known.has(id))
    .map((id) => {
      const cell = known.get(id),
        phase = phases.findIndex((cells) => cells.includes(cell));
      return `<li class="${markOf(cell, c.asRun)}"${phase === page.phase ? ' data-current="true"' : ""}><a href="#cell-${id}"><span class="sym">${cell.sym}</span> <span class="value">${shown(cell, list(cell.value).slice(0, 1))}${list(cell.value).length > 1 ? " …" : ""}</span></a></li>`;
    })
    .join("");
  for (const button of $("tabs").querySelectorAll("button")) {
    if (Number(button.dataset.phase) === page.phase) button.setAttribute("aria-current", "step");
    else button.removeAttribute("aria-current");
  }
  $("back").disabled = page.phase === 0 && page.place.step === 0;
  $("on").disabled = page.phase === PHASES.length - 1 && page.place.step === page.doc.steps.length - 1;
  drawRow(c);
  drawReadings(c);
}

// A table in a region of its own, which scrolls where it is too wide.
function table(caption, heads, rows, name) {
  const isNumber = (cell) => typeof cell === "number" || (cell !== "" && !Number.isNaN(Number(cell)));
  const cellOf = (cell, k) => {
    if (k === 0) return `<th scope="row" class="name">${cell}</th>`;
    const content = typeof cell === "number" ? digits(cell) : cell;
    return `<td class="${isNumber(cell) ? "number" : "name"}">${content}</td>`;
  };
  const head = heads.map((title) => `<th scope="col">${title}</th>`).join("");
  const body = rows.map(
    (row) => `<tr${row.current ? ' data-current="true"' : ""}>${row.cells.map(cellOf).join("")}</tr>`,
  );
  return `<div class="scroll" role="region" tabindex="0" aria-label="${name}"><table><caption>${caption}</caption>
<thead><tr>${head}</tr></thead><tbody>${body.join("")}</tbody></table></div>`;
}

function drawRow(c) {
  const near = range(c.n).filter((j) => c.n <= 16 || Math.abs(j - c.j) <= 8),
    recorded = rowOf(c.pass.eps, c.i),
    merged = rowOf(c.pass.merged, c.i);
  const largest = Math.max(...c.eps.map(Math.abs), 1e-30);
  const bar = (x) =>
    `<span class="bar ${x < 0 ? "below" : ""}" style="--size:${(Math.abs(x) / largest).toFixed(3)}"></span>`;
  $("row").innerHTML = table(
    `Row ${c.i}${near.length < c.n ? `, columns ${near[0]} to ${near[near.length - 1]} of ${c.n}` : ""}: √v<sub>${c.i}</sub> = ${digits(c.std)}`,
    ["j", "z", "ε", "", "ε of the run", "W′ + ε"],
    near.map((j) => ({
      current: j === c.j,
      cells: [j, c.zs[j], c.eps[j], bar(c.eps[j]), recorded[j], add(merged[j], c.eps[j])],
    })),
    "The row of the element",
  );
}

function drawReadings(c) {
  $("readings").innerHTML = table(
    "The move of this element in the same step",
    ["reading", "move", "deviation", "formula"],
    readingsOf(c).map((row) => ({
      cells: [
        row.name,
        row.value,
        row.std === null ? "–" : row.std,
        `${row.formula}<br><small>${row.numbers}</small>`,
      ],
    })),
    "The same element under other readings",
  );
}

function drawLayers() {
  const step = page.doc.steps[page.place.step],
    found = step.curvature.found;
  $("step-facts").innerHTML =
    `<p>Step ${step.step}: ${step.tokens} tokens; loss ${digits(step.loss)} with noise, ${digits(step.loss_without)} without; norm of all gradients ${short(step.gradient_norm)} and ${short(step.gradient_norm_without)}. ` +
    `${step.frozen} tensors are frozen: their bits are ${step.unchanged ? "the same as before" : "<strong>not the same</strong>"}.${found ? ` Measured rise ${short(found.rise)}, to second order ${short(found.first + found.second)}.` : ` The second order was not calculated: ${step.curvature.skipped}.`}</p>`;
  const rows = step.layers.map((layer, k) => ({
    current: k === page.place.layer,
    cells: [
      layer.layer.replace(/^bert\.encoder\.|^model\./, ""),
      layer.weight_norm,
      layer.gradient_by_adapters,
      layer.gradient_exact ?? "none",
      layer.ratio ?? "–",
      layer.rank_correlation ?? "–",
      layer.gradient_share,
      layer.noise ? layer.noise.theoretical : "none",
      layer.noise ? layer.noise.empirical : "none",
      layer.noise ? layer.noise.p : "–",
      layer.update.norm,
      layer.update.norm_without,
      layer.update.cosine ?? "–",
    ].map((x) => (typeof x === "number" ? short(x) : x)),
  }));
  $("layers").innerHTML = table(
    `All adapted layers in step ${step.step}`,
    [
      "layer",
      "‖W′‖",
      "‖G‖ by equation 7",
      "‖G‖ exact",
      "ratio",
      "rank correlation of rows",
      "gradient term's share of Σ v",
      "variance of ε by v",
      "variance of ε found",
      "p of χ²",
      "‖Δ(s B A)‖",
      "the same without noise",
      "cosine of the two",
    ],
    rows,
    "All adapted layers",
  );
}

function drawVerdict(tallied) {
  const passed = tallied.passed(),
    failed = tallied.failed(),
    root = document.documentElement;
  root.dataset.checksPassed = passed;
  root.dataset.checksFailed = failed;
  $("verdict").className = failed ? "bad" : "good";
  $("verdict").innerHTML = failed
    ? `<strong>✗ ${failed} of ${passed + failed} checks do not agree.</strong> A number of this page is not what its origins make it.`
    : `<strong>✓ All ${passed.toLocaleString("en")} checks agree.</strong> This page has calculated ${page.doc.whole ? "every element of every adapted layer" : "the followed element"} again, in JavaScript, from its own inputs.`;
  $("tally").innerHTML = table(
    "What was checked",
    ["what", "agree", "differ", "the first that differs"],
    [...tallied.of].map(([name, it]) => ({
      cells: [name, String(it.passed), it.failed ? `<strong>${it.failed}</strong>` : "0", it.first || ""],
    })),
    "What was checked",
  );
}

function redraw() {
  drawCells();
  drawLayers();
  drawPlace();
}
function go(phase, step) {
  page.phase = phase;
  if (step !== undefined) page.place.step = step;
  redraw();
}
function move(by) {
  const last = PHASES.length - 1,
    { step } = page.place,
    phase = page.phase + by;
  if (phase < 0 && step > 0) go(last, step - 1);
  else if (phase > last && step < page.doc.steps.length - 1) go(0, step + 1);
  else if (phase >= 0 && phase <= last) go(phase);
  else return;
  $(`phase-title-${page.phase}`).focus({ preventScroll: true });
}
