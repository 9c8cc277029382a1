// Draw every chart. Colours are CSS variables in the SVG, so another colour scheme needs no redrawing.
const charts = [];
for (const place of document.querySelectorAll(".chart")) {
  const spec = JSON.parse(place.nextElementSibling.textContent);
  spec.description = place.dataset.alt;
  const options = { actions: false, renderer: "svg", ast: true, tooltip: { disableDefaultStyle: true } };
  charts.push(window.vegaEmbed(place, spec, options).then(({ view }) => ({ study: place.closest(".study"), view })));
}

// A name in the legend highlights its likelihood in the charts of its study.
for (const button of document.querySelectorAll("[data-focus]")) {
  button.addEventListener("click", async () => {
    const on = button.getAttribute("aria-pressed") !== "true";
    for (const other of button.parentElement.children) other.setAttribute("aria-pressed", String(on && other === button));
    for (const { study, view } of await Promise.all(charts)) {
      if (study === button.closest(".study")) view.signal("focus", on ? button.dataset.focus : "").runAsync();
    }
  });
}

// A header sorts its table: first ascending, then descending; cells without a value stay last.
const value = (row, column) => {
  const cell = row.cells[column];
  return "value" in cell.dataset ? Number.parseFloat(cell.dataset.value) : cell.textContent.trim();
};
const missing = (entry) => Number.isNaN(entry) || entry === "–";
const compare = (a, b) => (typeof a === "number" ? a - b : a.localeCompare(b, "en", { numeric: true }));
for (const button of document.querySelectorAll(".cells thead button")) {
  button.addEventListener("click", () => {
    const header = button.parentElement;
    const body = header.closest("table").tBodies[0];
    const sign = header.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    for (const other of header.parentElement.children) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
    const rows = [...body.rows].map((row) => [value(row, header.cellIndex), row]);
    rows.sort(([a], [b]) => missing(a) - missing(b) || (missing(a) ? 0 : sign * compare(a, b)));
    body.append(...rows.map(([, row]) => row));
  });
}
