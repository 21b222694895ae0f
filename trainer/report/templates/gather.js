// SPDX-License-Identifier: Apache-2.0
// Makes each head of a table a button that sorts its rows. Without it the page shows the ranking.
"use strict";
(() => {
  const words = new Intl.Collator("en", { numeric: true });

  // Numbers by size, all else as words; what a run does not have comes last either way.
  function key(row, column) {
    const cell = row.cells[column];
    if (cell.dataset.value !== undefined) return Number(cell.dataset.value);
    return cell.dataset.none !== undefined ? null : cell.textContent;
  }

  function compare(a, b, way) {
    if (a === null || b === null) return (a === null) - (b === null);
    if (typeof a === "number" && typeof b === "number") return way * (a - b);
    return way * words.compare(String(a), String(b));
  }

  function sort(table, head) {
    const up = head.getAttribute("aria-sort") !== "ascending";
    const keyed = Array.from(table.tBodies[0].rows, (row) => [key(row, head.cellIndex), row]);
    keyed.sort((a, b) => compare(a[0], b[0], up ? 1 : -1));
    const rows = document.createDocumentFragment();
    for (const pair of keyed) rows.append(pair[1]);
    table.tBodies[0].append(rows);
    for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
  }

  for (const table of document.querySelectorAll("table.sortable")) {
    for (const head of table.tHead.rows[0].cells) {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      button.addEventListener("click", () => sort(table, head));
      head.append(button);
    }
  }
})();
