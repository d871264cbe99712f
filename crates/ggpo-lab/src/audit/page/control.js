// Buttons, keys, sliders, and the start.

function drawPlace() {
  drawMap();
  const { doc, place } = page,
    facts = doc.layers[place.layer],
    option = (value, label, chosen) =>
      `<option value="${value}"${chosen ? " selected" : ""}>${label}</option>`;
  $("at-step").innerHTML = doc.steps.map((_, k) => option(k, k, k === place.step)).join("");
  const layers = doc.whole ? doc.layers.map((_, k) => k) : [place.layer];
  $("at-layer").innerHTML = layers.map((k) => option(k, doc.layers[k].name, k === place.layer)).join("");
  const numbers = (count, now) =>
    doc.whole
      ? range(count)
          .map((k) => option(k, k, k === now))
          .join("")
      : option(now, now, true);
  $("at-row").innerHTML = numbers(facts.rows, place.row);
  $("at-column").innerHTML = numbers(facts.columns, place.column);
  for (const id of ["at-layer", "at-row", "at-column"]) $(id).disabled = !doc.whole;
}

// The noise of the layer, one square for each element, by which another can be chosen. The
// arrow keys walk through it; it is one stop of the tabulator.
function drawMap() {
  const { doc, place } = page;
  $("map").hidden = !doc.whole;
  if (!doc.whole) return;
  const eps = doc.traces.find((trace) => trace.layer === place.layer).passes[place.step].eps;
  const largest = Math.max(...eps.flat().map(Math.abs), 1e-30);
  const square = (x, i, j) => {
    const chosen = i === place.row && j === place.column;
    const strength = ((100 * Math.abs(x)) / largest).toFixed(0);
    return `<td role="gridcell"><button type="button" data-row="${i}" data-column="${j}" tabindex="${chosen ? 0 : -1}" class="${x < 0 ? "below" : ""}" style="--strength:${strength}%" aria-label="row ${i}, column ${j}: noise ${short(x)}"${chosen ? ' aria-current="true"' : ""}></button></td>`;
  };
  const rows = eps.map((row, i) => `<tr role="row">${row.map((x, j) => square(x, i, j)).join("")}</tr>`);
  $("map").innerHTML =
    `<p>The noise ε of the whole layer in this step, ${eps.length} × ${eps[0].length}: blue above 0, red below. A square chooses its element.</p><div class="scroll"><table role="grid" aria-label="Noise of the layer">${rows.join("")}</table></div>`;
}

function chooseSquare(i, j) {
  const { rows, columns } = page.doc.layers[page.place.layer];
  if (i < 0 || j < 0 || i >= rows || j >= columns) return;
  [page.place.row, page.place.column] = [i, j];
  redraw();
  $("map").querySelector("[aria-current]").focus();
}

const STEPS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
function listenToMap() {
  $("map").addEventListener("click", (event) => {
    const { row, column } = event.target.dataset;
    if (row) chooseSquare(Number(row), Number(column));
  });
  $("map").addEventListener("keydown", (event) => {
    const by = STEPS[event.key];
    if (!by) return;
    event.preventDefault();
    event.stopPropagation();
    chooseSquare(page.place.row + by[0], page.place.column + by[1]);
  });
}

function take(field, value) {
  page.place[field] = value;
  const facts = page.doc.layers[page.place.layer];
  page.place.row = Math.min(page.place.row, facts.rows - 1);
  page.place.column = Math.min(page.place.column, facts.columns - 1);
  redraw();
}

// Opens the cell that the address names.
function follow() {
  const id = decodeURIComponent(location.hash.slice(1)),
    phase = page.cells.findIndex((cells) => cells.some((cell) => `cell-${cell.id}` === id));
  if (phase < 0) return;
  page.open.add(id.slice(5));
  go(phase);
  const cell = $(id);
  cell.open = true;
  cell.querySelector("summary").focus();
  cell.scrollIntoView({ block: "center" });
}

const LEAST = -6;
const betaOf = (x) => (x <= LEAST ? 0 : 10 ** x),
  placeOfBeta = (beta) => (beta > 0 ? Math.log10(beta) : LEAST);
function choose(what) {
  Object.assign(page.chosen, what);
  const now = { ...page.doc.run, ...page.chosen };
  $("sigma-now").textContent = digits(now.sigma);
  $("beta-now").textContent = digits(now.beta);
  drawCells();
}
function reset() {
  page.chosen = {};
  const { sigma, beta, seed } = page.doc.run;
  $("sigma").max = Math.max(0.2, 2 * sigma);
  [$("sigma").value, $("beta").value, $("seed").value] = [sigma, placeOfBeta(beta), seed];
  choose({});
}

function listen() {
  listenToMap();
  $("tabs").innerHTML = PHASES.map(
    (name, k) => `<li><button type="button" data-phase="${k}"><span>${k + 1}</span> ${name}</button></li>`,
  ).join("");
  $("tabs").addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button) go(Number(button.dataset.phase));
  });
  $("back").addEventListener("click", () => move(-1));
  $("on").addEventListener("click", () => move(1));
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input, select, textarea, pre, .scroll");
    if (typing || event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key === "ArrowRight") move(1);
    if (event.key === "ArrowLeft") move(-1);
  });
  $("phases").addEventListener(
    "toggle",
    (event) => {
      const cell = event.target;
      if (cell.classList.contains("cell")) page.open[cell.open ? "add" : "delete"](cell.id.slice(5));
    },
    true,
  );
  for (const [id, field] of [
    ["at-step", "step"],
    ["at-layer", "layer"],
    ["at-row", "row"],
    ["at-column", "column"],
  ])
    $(id).addEventListener("change", (event) => take(field, Number(event.target.value)));
  $("sigma").addEventListener("input", (event) => choose({ sigma: Number(event.target.value) }));
  $("beta").addEventListener("input", (event) => choose({ beta: betaOf(Number(event.target.value)) }));
  $("seed").addEventListener(
    "input",
    (event) => /^\d{1,20}$/.test(event.target.value) && choose({ seed: event.target.value }),
  );
  $("reset").addEventListener("click", reset);
  window.addEventListener("hashchange", follow);
  document.addEventListener("click", (event) => {
    const link = event.target.closest('a[href^="#cell-"]');
    if (link && link.getAttribute("href") === location.hash) follow();
  });
  window.addEventListener("beforeprint", () =>
    document.querySelectorAll(".cell").forEach((cell) => {
      cell.open = true;
    }),
  );
}

function facts({ run, layers, steps }) {
  $("facts").innerHTML = [
    ["Model", run.model],
    ["Texts", run.data],
    ["Noise", `σ = ${run.sigma}, β = ${run.beta}, seed ${run.seed}`],
    ["Adapters", `rank ${run.rank}, s = ${run.scaling}, ${layers.length} layers`],
    ["Steps", `${steps.length}, by ggpo ${run.version}`],
  ]
    .map(([name, value]) => `<div><dt>${name}</dt><dd>${escape(String(value))}</dd></div>`)
    .join("");
}

function attempt(work) {
  try {
    work();
  } catch (error) {
    const root = document.documentElement;
    [root.dataset.checksPassed, root.dataset.checksFailed] = [0, 1];
    $("verdict").className = "bad";
    $("verdict").innerHTML =
      `<strong>✗ The numbers of this page cannot be read:</strong> ${escape(String(error))}`;
  }
}

// The page is drawn first; the checks, which take a moment on a small device, come after.
attempt(() => {
  page.listings = JSON.parse($("listings").textContent);
  page.doc = load($("audit").textContent);
  page.place = { ...page.doc.element };
  facts(page.doc);
  $("equations").innerHTML = Object.entries(EQUATIONS)
    .map(
      ([id, [name, formula, about]]) =>
        `<div id="equation-${id}" tabindex="-1"><dt>${name}</dt><dd><span class="sym">${formula}</span><br>${about}</dd></div>`,
    )
    .join("");
  listen();
  reset();
  redraw();
  follow();
  const check = () => {
    drawVerdict(checkAll(page.doc, $("audit").textContent, $("audit").dataset.digest));
    document.dispatchEvent(new Event("checked"));
  };
  window.addEventListener("load", () => setTimeout(() => attempt(check)));
});
