// Put into a page by the tests: walks through it, and says what it saw in an element
// with the id "driver" of the page around it.
function report(seen) {
  const element = document.createElement("pre");
  element.id = "driver";
  element.textContent = JSON.stringify(seen);
  window.parent.document.body.append(element);
}
const counts = () =>
  ["checksPassed", "checksFailed"].map((key) => Number(document.documentElement.dataset[key]));
const marks = () => [...document.querySelectorAll(".cell")].map((cell) => cell.dataset.mark);
const valueOf = (id) => document.querySelector(`#cell-${id} .value`).textContent;
const press = (key) => document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
const current = () => [
  Number($("at-step").value),
  Number($("tabs").querySelector("[aria-current]").dataset.phase),
];
function slide(id, value) {
  $(id).value = value;
  $(id).dispatchEvent(new Event("input", { bubbles: true }));
}

function walk() {
  const seen = { start: counts(), places: [current()], marks: [marks()] };
  for (let k = 0; k < 6; k++) {
    $("on").click();
    seen.places.push(current());
    seen.marks.push(marks());
  }
  press("ArrowLeft");
  seen.left = current();
  press("ArrowRight");
  seen.right = current();
  seen.focus = document.activeElement.id;
  location.hash = "#cell-eps";
  follow();
  seen.opened = document.getElementById("cell-eps").open;
  seen.links = [...document.querySelectorAll('.cell a[href^="#"]')].filter(
    (link) => !document.getElementById(link.getAttribute("href").slice(1)),
  ).length;
  const settings = { eps: valueOf("eps"), sigma: $("sigma").value };
  slide("sigma", 2 * page.doc.run.sigma);
  seen.sigma = [settings.eps, valueOf("eps"), document.getElementById("cell-eps").dataset.mark];
  slide("seed", "7");
  seen.seed = [valueOf("key"), valueOf("eps")];
  slide("beta", "2");
  seen.beta = valueOf("std");
  $("reset").click();
  seen.reset = [valueOf("eps"), document.getElementById("cell-eps").dataset.mark];
  seen.after = counts();
  $("map").querySelector('[data-row="1"][data-column="2"]').click();
  document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowDown", bubbles: true }));
  seen.chosen = ["at-row", "at-column"].map((id) => Number($(id).value));
  seen.marks.push(marks());
  seen.unnamed = [...document.querySelectorAll("button, select, input, summary, [role=region]")].filter(
    (element) =>
      !(element.textContent.trim() || element.getAttribute("aria-label") || element.closest("label")),
  ).length;
  seen.width = [];
  document.querySelectorAll("details").forEach((element) => {
    element.open = true;
  });
  for (let k = 0; k < 6; k++) {
    go(k);
    seen.width.push(document.documentElement.scrollWidth - document.documentElement.clientWidth);
  }
  seen.screen = window.innerWidth;
  report(seen);
}

// How many checks fail with each of these digits changed: [place in the text, digit].
function change(digits) {
  const element = $("audit"),
    text = element.textContent;
  report(
    digits.map(([place, digit]) => {
      const changed = text.slice(0, place) + digit + text.slice(place + 1);
      try {
        return checkAll(load(changed), changed, element.dataset.digest).failed();
      } catch {
        return -1;
      }
    }),
  );
}

// Checks beside the digest that fail with each number of the followed element changed in
// its last digits.
function recalculate() {
  const text = $("audit").textContent,
    digest = $("audit").dataset.digest;
  const { step, row: i, column: j } = load(text).element,
    found = {};
  const cases = {
    weight: (t) => [t.weight.row, j],
    a: (t) => [t.states[step].a[0], j],
    b: (t) => [t.states[step].b.row, 0],
    "a after": (t) => [t.states[step + 1].a[1], j],
    "b after": (t) => [t.states[step + 1].b.row, 1],
    "first moment": (t) => [t.states[step + 1].moments_a[0].column, 0],
    "second moment": (t) => [t.states[step + 1].moments_b[1].row, 0],
    "norm of the weight": (t) => [t.states[step].weight_squared, i],
    "norm of the gradient": (t) => [t.states[step].gradient_squared, i],
    "next norm": (t) => [t.states[step + 1].weight_squared, i],
    deviation: (t) => [t.passes[step].deviation, i],
    key: (t) => [t.passes[step].key, 0],
    word: (t) => [t.passes[step].words[0], 2],
    z: (t) => [t.passes[step].z.row, j],
    eps: (t) => [t.passes[step].eps.row, j],
    merged: (t) => [t.passes[step].merged.row, j],
    noisy: (t) => [t.passes[step].noisy.row, j],
    "s B A": (t) => [t.passes[step].low_rank.row, j],
    output: (t) => [t.passes[step].inputs.y, i],
    gradient: (t) => [t.passes[step].gradient.row, j],
    dA: (t) => [t.passes[step].grad_a[1], j],
    dB: (t) => [t.passes[step].grad_b.row, 1],
  };
  for (const [name, place] of Object.entries(cases)) {
    const doc = load(text),
      [owner, key] = place(doc.traces[0]),
      value = owner[key];
    owner[key] =
      Number.isInteger(value) && value !== 0 ? value + 1 : f(value * 1.001 + (value === 0 ? 1e-3 : 0));
    found[name] = checkAll(doc, text, digest).failed();
  }
  report(found);
}
