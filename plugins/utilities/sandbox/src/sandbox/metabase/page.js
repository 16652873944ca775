// Filters as one types: a table that matches shows all its columns, else only those that match.
const filter = document.getElementById("filter");

function show(element, visible) {
  element.hidden = !visible;
  return visible;
}

function apply() {
  const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
  const matches = (element) => words.every((word) => element.dataset.text.includes(word));
  let found = false;
  for (const group of document.querySelectorAll(".group")) {
    const tables = [...group.querySelectorAll("article")].map((table) => {
      const whole = matches(table);
      const rows = [...table.querySelectorAll("tbody tr")].map((row) => show(row, whole || matches(row)));
      const visible = show(table, whole || rows.includes(true));
      document.querySelector(`li[data-for="${CSS.escape(table.id)}"]`).hidden = !visible;
      return visible;
    });
    found = show(group, tables.includes(true)) || found;
  }
  document.getElementById("nothing").hidden = found;
}

if (filter) {
  filter.addEventListener("input", apply);
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && document.activeElement !== filter) {
      event.preventDefault();
      filter.focus();
    }
  });
  apply();
}
