// Fetches each card of a dashboard, drawn for the room that it has, and again when a filter changes.
const form = document.getElementById("filters");
const tip = document.getElementById("tip");
const cards = [...document.querySelectorAll("[data-source]")];

function filters() {
  const chosen = new URLSearchParams();
  for (const { name, value } of form?.elements ?? []) if (name) chosen.set(name, "");
  for (const [name, value] of form ? new FormData(form) : []) {
    if (chosen.get(name) === "") chosen.delete(name);
    chosen.append(name, value);
  }
  return chosen;
}

async function load(card) {
  const body = card.querySelector(".body");
  const query = filters();
  query.set("width", Math.max(200, Math.round(body.clientWidth)));
  query.set("height", Math.max(80, Math.round(body.clientHeight)));
  const address = `${card.dataset.source}?${query}`;
  card.dataset.asked = address;
  card.classList.add("loading");
  let shown;
  try {
    const answer = await fetch(address);
    shown = await answer.text();
    if (!answer.ok) shown = "";
  } catch {
    shown = "";
  }
  if (card.dataset.asked !== address) return; // a newer request is on its way
  card.classList.remove("loading");
  if (shown) body.innerHTML = shown;
  if (shown && card.dataset.hides) {
    const wasHidden = card.hidden;
    card.hidden = Boolean(body.querySelector(".nothing"));
    compact(card.parentElement);
    if (wasHidden && !card.hidden) return load(card); // now there is a width to draw for
  }
  if (!shown) body.textContent = "This card can't be loaded. Is the sandbox running?";
  const button = card.querySelector("button");
  if (button) {
    button.hidden = !body.querySelector(".behind");
    show(card, button.getAttribute("aria-pressed") === "true");
  }
}

function show(card, table) {
  const behind = card.querySelector(".behind");
  if (!behind) return;
  behind.hidden = !table;
  card.querySelector(".drawing").hidden = table;
  const button = card.querySelector("button");
  button.setAttribute("aria-pressed", table);
  button.textContent = table ? "Chart" : "Table";
}

// As in Metabase, cards move up to where there is room: a card that hides leaves no gap.
function compact(grid) {
  const placed = [];
  const shown = [...grid.children].filter((card) => !card.hidden);
  const places = shown.map((card) => {
    card.dataset.area ??= card.style.gridArea;
    const [row, col, height, width] = card.dataset.area.match(/\d+/g).map(Number);
    return { card, row, col, height, width };
  });
  for (const place of places.sort((a, b) => a.row - b.row || a.col - b.col)) {
    const { col, width, height } = place;
    const above = placed.filter((other) => other.col < col + width && col < other.col + other.width);
    const row = Math.max(1, ...above.map((other) => other.row + other.height));
    placed.push({ row, col, height, width });
    place.card.style.gridArea = `${row} / ${col} / span ${height} / span ${width}`;
  }
}

// Two at a time: the local BigQuery has no more to give.
async function loadAll() {
  const waiting = [...cards];
  const worker = async () => {
    for (let card = waiting.shift(); card; card = waiting.shift()) await load(card);
  };
  await Promise.all([worker(), worker()]);
  document.body.dataset.loaded = "true";
}

for (const card of cards) {
  card.querySelector("button")?.addEventListener("click", (event) => {
    show(card, event.target.getAttribute("aria-pressed") !== "true");
  });
}

form?.addEventListener("change", (event) => {
  const between = event.target.closest(".between");
  if (between) {
    const [first, last] = between.querySelectorAll("input");
    for (const radio of form.querySelectorAll(`input[name="${CSS.escape(between.dataset.slug)}"]`)) radio.checked = false;
    between.querySelector("input[type=hidden]")?.remove();
    if (first.value || last.value) {
      const value = document.createElement("input");
      Object.assign(value, { type: "hidden", name: between.dataset.slug, value: `${first.value}~${last.value}` });
      between.append(value);
    }
  } else if (event.target.type === "radio") {
    event.target.closest(".options").querySelector(".between input[type=hidden]")?.remove();
  }
  for (const details of form.querySelectorAll("details")) {
    const labels = [...details.querySelectorAll("input:checked")].filter((input) => input.value).map((input) => input.parentElement.textContent.trim());
    const typed = [...details.querySelectorAll("input[type=hidden], input[type=text]")].map((input) => input.value).filter(Boolean);
    const summary = details.querySelector("summary");
    const text = [...labels, ...typed].join(", ");
    summary.querySelector("strong")?.remove();
    summary.classList.toggle("chosen", text !== "");
    if (text) summary.append(Object.assign(document.createElement("strong"), { textContent: `: ${text}` }));
  }
  history.replaceState(null, "", `?${filters()}`);
  loadAll();
});
form?.addEventListener("submit", (event) => event.preventDefault());

document.addEventListener("click", (event) => {
  for (const details of document.querySelectorAll("details.filter[open]")) {
    if (!details.contains(event.target)) details.open = false;
  }
  const row = event.target.closest("tr[data-href]");
  if (row && !event.target.closest("a")) location.href = row.dataset.href;
});

document.addEventListener("pointermove", (event) => {
  const label = event.target.closest?.(".drawing [aria-label]")?.getAttribute("aria-label");
  tip.hidden = !label || !event.target.closest("path, rect, circle");
  if (tip.hidden) return;
  tip.textContent = label;
  const left = Math.min(event.clientX + 12, innerWidth - tip.offsetWidth - 8);
  tip.style.left = `${left}px`;
  tip.style.top = `${event.clientY + 14}px`;
});

for (const grid of document.querySelectorAll(".grid")) compact(grid);

let width = innerWidth;
let later;
addEventListener("resize", () => {
  if (innerWidth === width) return;
  width = innerWidth;
  clearTimeout(later);
  later = setTimeout(loadAll, 250);
});

loadAll();
