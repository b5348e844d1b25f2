"use strict";
// A click on a column's name sorts the rows by it, numbers as numbers; a second click turns the order round.
for (const button of document.querySelectorAll("table.sortable th button")) {
  button.addEventListener("click", () => {
    const head = button.closest("th");
    const table = head.closest("table");
    const column = [...head.parentNode.children].indexOf(head);
    const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    for (const other of head.parentNode.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", sign === 1 ? "ascending" : "descending");
    const key = (row) => row.children[column];
    const compare = (a, b) => {
      const [x, y] = [key(a).dataset.value, key(b).dataset.value];
      if (x !== undefined && y !== undefined) return sign * (Number(x) - Number(y));
      // numbers before texts and dashes, whichever the order
      if (x !== undefined || y !== undefined) return x !== undefined ? -1 : 1;
      return sign * key(a).textContent.localeCompare(key(b).textContent, "en", { numeric: true });
    };
    table.tBodies[0].append(...[...table.tBodies[0].rows].sort(compare));
  });
}
// What is folded on the screen is open on paper, and folded again after it.
const folded = () => document.querySelectorAll("details");
addEventListener("beforeprint", () => folded().forEach((each) => { each.dataset.open = each.open; each.open = true; }));
addEventListener("afterprint", () => folded().forEach((each) => { each.open = each.dataset.open === "true"; }));
